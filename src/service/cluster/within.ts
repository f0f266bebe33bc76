import { setTimeout as delay } from 'node:timers/promises'

/** Never rejects: what could not be ended in time ends with the process. */
export async function within(ms: number, work: Promise<unknown> | undefined): Promise<void> {
  await Promise.race([Promise.resolve(work).catch(() => {}), delay(ms, undefined, { ref: false })])
}
