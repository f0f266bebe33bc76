/** Keeps something up to date: one load at a time, none sooner than `everyMs` after the last. */
export type Refresher = Readonly<{
  /** Something has changed: loads as soon as it may. */
  soon(): void
  /** Somebody waits for it: loads at once, after the one that is under way. */
  now(): Promise<void>
}>

export function createRefresher(load: () => Promise<void>, everyMs: number): Refresher {
  let underWay: Promise<void> | undefined
  let timer: ReturnType<typeof setTimeout> | undefined
  let endedAt = Number.NEGATIVE_INFINITY

  function start(): Promise<void> {
    clearTimeout(timer)
    timer = undefined
    underWay = load()
      // Whoever loads says what is wrong; the next time may go better.
      .catch(() => {})
      .finally(() => {
        endedAt = performance.now()
        underWay = undefined
      })
    return underWay
  }

  return {
    soon() {
      if (timer !== undefined) return
      const waitMs = Math.max(0, everyMs - (performance.now() - endedAt))
      timer = setTimeout(() => {
        timer = undefined
        if (underWay) this.soon()
        else void start()
      }, waitMs)
    },
    async now() {
      await underWay
      await start()
    },
  }
}
