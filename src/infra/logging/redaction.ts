/**
 * A line of the log, which is JSON, without what must never be in one. Nothing of ours writes secrets
 * there; but errors quote what they were given, and libraries put whole requests into theirs.
 */
export const withoutSecrets = (line: string): string =>
  `${JSON.stringify(JSON.parse(line), (name, value: unknown) => {
    if (secretName.test(name)) return redacted
    return typeof value === 'string' ? withoutSecretForms(value) : value
  })}\n`

const redacted = '[redacted]'

const names =
  '(?:proxy-)?authorization|(?:set-)?cookie|x-api-key|wan-(?:forward|node)-key|api_?(?:key|tokens?)|(?:access_?)?token|(?:webhook_?)?secrets?|password|signature'
const secretName = new RegExp(`^(?:${names})$`, 'i')

/** What is known by its form, wherever in a text it stands. */
const forms: readonly (readonly [form: RegExp, instead: string])[] = [
  // A field of JSON that somebody quotes, once more within JSON perhaps.
  [new RegExp(String.raw`("(?:${names})\\*": ?\\*")[^"\\]+`, 'gi'), `$1${redacted}`],
  [/\bBearer +[^\s"'\\,;]+/gi, `Bearer ${redacted}`],
  [/\bBasic +[A-Za-z0-9+/=]{8,}/g, `Basic ${redacted}`],
  [/\bwhsec_[A-Za-z0-9+/=_-]+/g, `whsec_${redacted}`],
  [/([?&](?:signature|token|access_token|key)=)[^&\s"'\\]+/gi, `$1${redacted}`],
  // Of an address: a user and a password.
  [/(:\/\/)[^\s"'\\@]+@/g, `$1${redacted}@`],
]

const withoutSecretForms = (text: string): string =>
  forms.reduce((rest, [form, instead]) => rest.replace(form, instead), text)
