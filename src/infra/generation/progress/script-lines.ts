/** Lines that `generate.py` prints to stdout. Stages need only two of them: any output means `loading`. */
import type { Timestamp } from '../../../domain/job.ts'

export type ScriptLine = Readonly<
  /** `at` is NaN for a date that does not exist. */
  | { says: 'encoding' | 'saving'; at: Timestamp }
  | { says: 'saveFailed'; error: string }
  | { says: 'finished' }
>

/** Undefined for every other line. */
export function scriptLine(text: string): ScriptLine | undefined {
  if (text.startsWith(wan21SaveFailed)) {
    return { says: 'saveFailed', error: text.slice(wan21SaveFailed.length) }
  }
  const stamp = infoStamp.exec(text)?.[0]
  if (stamp === undefined) return undefined
  const message = text.slice(stamp.length)
  if (generating.test(message)) return { says: 'encoding', at: timeOf(stamp) }
  if (message.startsWith(saving)) return { says: 'saving', at: timeOf(stamp) }
  if (message.startsWith(saveFailed)) {
    return { says: 'saveFailed', error: message.slice(saveFailed.length) }
  }
  return message === 'Finished.' ? { says: 'finished' } : undefined
}

/** `[%(asctime)s] %(levelname)s: `, the format of its logger, which writes to stdout. */
const infoStamp = /^\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}\] INFO: /

/** Its stamps are in UTC, as the service sets TZ. */
function timeOf(stamp: string): Timestamp {
  return Date.parse(`${stamp.slice(1, 11)}T${stamp.slice(12, 20)}.${stamp.slice(21, 24)}Z`)
}

/** Without the space in Wan2.1's VACE. */
const generating = /^Generating video ?\.\.\.$/

const saving = 'Saving generated video to '

/** Logged with the text of whatever was raised, which may be none, before `Finished.` and exit 0. */
const saveFailed = 'save_video failed, error:'

/** Printed instead of logged. */
const wan21SaveFailed = 'cache_video failed, error:'
