import pino from 'pino'
import type { Logger } from '../../domain/log.ts'
import { withoutSecrets } from './redaction.ts'

/** What is kept of a log that cannot be written for the time being. */
const keptBytes = 1024 ** 2

/**
 * JSON lines on stdout, or lines for people where that is a terminal. It may be a file on a full disk:
 * then the service goes on without its log and can still end, where pino's own way of writing waits
 * for room with everything else.
 */
export async function createStdoutLog(level: pino.Level): Promise<Logger> {
  const output = pino.destination({ dest: 1, sync: true, maxLength: keptBytes })
  output.on('error', () => {})
  const lay = process.stdout.isTTY ? await layoutForPeople() : (line: string) => line
  const log: Logger = pino(
    { level, hooks: { streamWrite: (line) => lay(withoutSecrets(line)) } },
    output,
  )
  return log
}

/** Loaded only for people, as it takes a while. */
async function layoutForPeople(): Promise<(line: string) => string> {
  const { prettyFactory, isColorSupported } = await import('pino-pretty')
  const lay = prettyFactory({
    colorize: isColorSupported,
    ignore: 'pid,hostname',
    translateTime: 'HH:MM:ss.l',
  })
  return (line) => lay(withoutControls(line))
}

/** What a terminal would obey is shown instead: the last words of a tool may be anything. */
export const withoutControls = (line: string): string =>
  line
    .replace(/\\(\\|u00[01][0-9a-f]|[bfr])/gi, (code, what: string) =>
      what === '\\' ? code : `\\${code}`,
    )
    .replace(/[\u007f-\u009f]/g, '\ufffd')
