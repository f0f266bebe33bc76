import { setTimeout as delay } from 'node:timers/promises'
import { defaultBeatMs } from '../../cluster/election.ts'

/** The others look once in each beat whether the leader has resigned. */
const noticeMs = defaultBeatMs + 100

/**
 * Resolves when other nodes have noticed that this one has resigned, and send it no requests any more. A connection that is
 * closed before breaks the request that is just sent through it.
 */
export async function untilNoticed(hasOthers: () => Promise<boolean>): Promise<void> {
  if (await hasOthers()) await delay(noticeMs)
}
