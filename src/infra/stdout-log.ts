import pino from 'pino'
import type { Logger } from '../log.ts'

/** What is kept of a log that cannot be written for the time being. */
const keptBytes = 1024 ** 2

/**
 * JSON lines on stdout, which may be a file on a full disk: then the service goes on without its log
 * and can still end, where pino's own way of writing waits for room with everything else.
 */
export function createStdoutLog(level: pino.Level): Logger {
  const output = pino.destination({ dest: 1, sync: true, maxLength: keptBytes })
  output.on('error', () => {})
  return pino({ level }, output)
}
