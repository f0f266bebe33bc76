/** The text as a log can show it: escape sequences and control characters would act on a terminal. */
export function plain(record: string): string {
  if (!record || !/\p{Cc}/u.test(record)) return record.trimEnd()
  return record
    .replace(escapeSequence, '')
    .replaceAll('\t', ' ')
    .replace(/\p{Cc}/gu, '')
    .trimEnd()
}

/** ECMA-48: CSI with its parameters, OSC up to its terminator, and the short ones. */
const escapeSequence =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what it is about
  /(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[ -/]*[0-Z\\^-~]/g
