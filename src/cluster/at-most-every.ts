/**
 * Calls `work` at once, but not again within `ms` milliseconds: calls that come sooner have it called once, when they
 * are over.
 */
export function atMostEvery(ms: number, work: () => void) {
  let timer: NodeJS.Timeout | undefined
  let isDue = false

  return {
    call(): void {
      if (timer) isDue = true
      else begin()
    },
    stop: () => clearTimeout(timer),
  }

  function begin(): void {
    isDue = false
    timer = setTimeout(end, ms).unref()
    work()
  }

  function end(): void {
    timer = undefined
    if (isDue) begin()
  }
}
