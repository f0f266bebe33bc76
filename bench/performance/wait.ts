import { setTimeout as delay } from 'node:timers/promises'

/** Asks again and again, by default for as long as a minute. */
export async function until(
  isSo: () => Promise<boolean>,
  everyMs = 5,
  maxMs = 60_000,
): Promise<void> {
  const patience = performance.now() + maxMs
  while (!(await isSo())) {
    if (performance.now() > patience) {
      throw new Error(`it has not come about within ${maxMs / 1_000} s`)
    }
    await delay(everyMs)
  }
}
