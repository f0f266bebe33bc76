/** What bodies are made of: one schema gives the type, the parser and the message of refusal. */
import * as v from 'valibot'
import type { VideoDraft } from '../../domain/job.ts'
import { type WanTask, wanTasks } from '../../domain/wan-tasks.ts'
import { type Fields, ReceivedImage } from './form.ts'

/** For the document: in an address all is text, and this is what it means. */
export const stands = <Input>(meaning: Readonly<Record<string, unknown>>) =>
  v.metadata<Input, typeof meaning>(meaning)

/** As OpenAI's API has it; well under what fits into one argument of a process. */
const maxPromptLength = 32_000

export const Prompt = v.pipe(
  v.string('must be text'),
  v.description('One line, not beginning with `--`. Wan2.2 reads no more than 512 tokens of it.'),
  v.check((text) => text.isWellFormed(), 'must be valid Unicode (it has a lone surrogate)'),
  v.maxLength(maxPromptLength, `must be at most ${maxPromptLength} characters long`),
  v.check(
    (text) => !/[\p{Cc}\u2028\u2029]/u.test(text),
    'must be one line without line breaks, tabs or control characters',
  ),
  v.trim(),
  v.nonEmpty('must not be empty'),
  v.check((text) => !text.startsWith('--'), 'must not begin with "--"'),
)

/** Why no job can have a negative prompt; undefined: jobs can. */
export type RefuseNegativePrompt = () => string | undefined

export const negativePromptOf = <Schema extends v.GenericSchema<string, string>>(
  schema: Schema,
  refuse: RefuseNegativePrompt,
) =>
  v.pipe(
    schema,
    v.check(
      () => refuse() === undefined,
      () => refuse() ?? '',
    ),
    v.description(
      'What the video should not show, written as `prompt` is. Left out: the negative prompt of the model’s configuration.',
    ),
  )

export const wholeNumber = (min: number, max: number) => {
  const rule = `must be a whole number from ${min} to ${max}`
  return v.pipe(v.number(rule), v.safeInteger(rule), v.minValue(min, rule), v.maxValue(max, rule))
}

const upTo30Rule = 'must be a number from 0 to 30'
export const upTo30 = v.pipe(
  v.number(upTo30Rule),
  v.minValue(0, upTo30Rule),
  v.maxValue(30, upTo30Rule),
  v.description('Left out: what the task would take.'),
)

export const frameCount = (maxFrames: number) =>
  v.pipe(
    wholeNumber(5, maxFrames),
    v.description('4n+1, like 81 or 121'),
    v.check(
      (count) => count % 4 === 1,
      'must be 4n+1, like 81 or 121: the model makes no other count',
    ),
  )

const Image = v.pipe(
  v.instance(ReceivedImage, 'must be a file, sent as multipart/form-data'),
  v.metadata({
    description: 'JPEG, PNG or WebP; only in a form',
    contentMediaType: 'application/octet-stream',
  }),
)

/** Whether there may be an image, or must be one, is up to the model. */
export function imageFor(task: WanTask): v.GenericSchema<ReceivedImage | undefined> {
  switch (wanTasks[task].image) {
    case 'never':
      return v.optional(v.custom<ReceivedImage>(() => false, `is not possible: ${task} takes none`))
    case 'perhaps':
      return v.optional(Image)
    case 'always':
      return Image
  }
}

export const issueMessage = (issue: { expected: string | null; received: string }): string =>
  issue.expected === 'never'
    ? 'is not a known field'
    : issue.received === 'undefined'
      ? 'is required'
      : 'must be an object'

/** Why nothing may be sent to this URL; `undefined`: something may. */
export type RefuseUrl = (url: string) => string | undefined

export const WebhookUrl = (refuse: RefuseUrl) =>
  v.pipe(
    v.string('must be text'),
    v.maxLength(2_000, 'must be at most 2000 characters long'),
    v.rawCheck(({ dataset, addIssue }) => {
      const message = dataset.typed ? refuse(dataset.value) : undefined
      if (message !== undefined) addIssue({ message })
    }),
  )

const secretRule = 'must be "whsec_" and 24 to 64 bytes in base64'
export const Secret = v.pipe(
  v.string(secretRule),
  v.regex(/^whsec_(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/, secretRule),
  v.check((text) => {
    const { length } = Buffer.from(text.slice('whsec_'.length), 'base64')
    return length >= 24 && length <= 64
  }, secretRule),
)

type WebhookFields = Readonly<{
  webhook_url?: string | undefined
  webhook_secret?: string | undefined
}>

export const secretHasUrl = ({ webhook_url, webhook_secret }: WebhookFields): boolean =>
  webhook_secret === undefined || webhook_url !== undefined
export const secretRuleOfUrl = 'is for a webhook_url, and there is none'

/** What these two fields say, in a draft. */
export const webhookIn = (
  { webhook_url: url, webhook_secret: secret }: WebhookFields,
  words: NonNullable<VideoDraft['webhook']>['words'],
): Pick<VideoDraft, 'webhook'> =>
  url === undefined ? {} : { webhook: { url, words, ...(secret && { secret }) } }

type Notes = Readonly<Record<string, string>>
const notes = { most: 16, maxNameLength: 64, maxTextLength: 512 } as const
const notesRule =
  `must be an object of at most ${notes.most} texts, each of at most ${notes.maxTextLength} characters ` +
  `under a name of 1 to ${notes.maxNameLength}`

/** What clients note on a job for themselves; in a form it may be JSON. */
export const Metadata = v.pipe(
  v.unknown() as v.GenericSchema<Notes | string>,
  v.transform((given): unknown => fromJsonText(given)),
  v.custom<Notes>(areNotes, notesRule),
  stands({
    type: 'object',
    maxProperties: notes.most,
    propertyNames: { minLength: 1, maxLength: notes.maxNameLength },
    additionalProperties: { type: 'string', maxLength: notes.maxTextLength },
    description: 'Notes of the client’s own, which mean nothing to the service.',
  }),
)

function areNotes(given: unknown): boolean {
  if (typeof given !== 'object' || given === null || Array.isArray(given)) return false
  const entries = Object.entries(given)
  return (
    entries.length <= notes.most &&
    entries.every(
      ([name, text]) =>
        name !== '' &&
        name.length <= notes.maxNameLength &&
        typeof text === 'string' &&
        text.length <= notes.maxTextLength,
    )
  )
}

/** Objects may come as text in a form. */
export function fromJsonText(given: unknown): unknown {
  if (typeof given !== 'string') return given
  try {
    return JSON.parse(given)
  } catch {
    return given
  }
}

/** In a form numbers are text. */
export function withNumbers(form: Fields): Fields {
  const toNumber = ([name, value]: [string, unknown]) => {
    const isNumber = typeof value === 'string' && /^-?\d+(\.\d+)?$/.test(value)
    return [name, numberFields.includes(name) && isNumber ? Number(value) : value]
  }
  return Object.fromEntries(Object.entries(form).map(toNumber))
}

const numberFields = ['seed', 'steps', 'guidance', 'shift', 'frames']
