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
  /** One load after the present one, which may take long. */
  let isWanted = false
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
        if (!isWanted) return
        isWanted = false
        soon()
      })
    return underWay
  }

  function soon(): void {
    if (timer !== undefined) return
    if (underWay) {
      isWanted = true
      return
    }
    const waitMs = Math.max(0, everyMs - (performance.now() - endedAt))
    timer = setTimeout(() => void start(), waitMs)
  }

  return {
    soon,
    async now() {
      await underWay
      await start()
    },
  }
}
