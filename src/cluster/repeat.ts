import { setTimeout as delay } from 'node:timers/promises'

export type Repetition = {
  /** Resolves when the work in progress has ended and no more is started. */
  stop(): Promise<void>
}

/** Works at once and then again and again, `everyMs` after each end. `work` handles its errors. */
export function repeat(everyMs: number, work: () => Promise<void>): Repetition {
  const stopping = new AbortController()
  const ended = run()
  return {
    async stop() {
      stopping.abort()
      await ended
    },
  }

  async function run(): Promise<void> {
    while (!stopping.signal.aborted) {
      await work()
      await delay(everyMs, undefined, { signal: stopping.signal }).catch(() => {})
    }
  }
}
