import { setTimeout as delay } from 'node:timers/promises'

/** Asks again and again, for as long as a minute. */
export async function until(isSo: () => Promise<boolean>, everyMs = 5): Promise<void> {
  const patience = performance.now() + 60_000
  while (!(await isSo())) {
    if (performance.now() > patience) throw new Error('it has not come about within a minute')
    await delay(everyMs)
  }
}
