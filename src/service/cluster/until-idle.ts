import { setTimeout as delay } from 'node:timers/promises'

const lookMs = 500
const idleLooks = 3

/** Resolves when a node that is to get no more jobs has none. `isBusy` may fail; a failure counts as busy. */
export async function untilIdle(isBusy: () => Promise<boolean>): Promise<void> {
  // The leader may have given it one more job before it heard.
  for (let idle = 0; idle < idleLooks; ) {
    await delay(lookMs)
    idle = (await isBusy().catch(() => true)) ? 0 : idle + 1
  }
}
