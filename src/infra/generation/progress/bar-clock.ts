/** One state of a tqdm bar: `n/total [elapsed<left, rate]`. */
export type BarState = Readonly<{ step: number; elapsedSeconds: number; secondsPerStep?: number }>

/** tqdm's default, and how it smooths: the new value counts so much, the mean so far the rest. */
const smoothing = 0.3

/**
 * Tells how long after its beginning a state of a bar was drawn, in milliseconds. The bar's own
 * clock shows whole seconds. The rate is finer: it is a smoothed mean of the latest intervals, whose
 * latest one can be worked out from it. The whole seconds then keep errors from adding up, also
 * where the rate is another's: of a second rank, or the mean over all in the last state.
 */
export function createBarClock(): (state: BarState) => number {
  let step = 0
  let drawnAt = 0
  let smoothSteps = 0
  let smoothSeconds = 0

  return ({ step: next, elapsedSeconds, secondsPerStep = Number.NaN }) => {
    if (next <= step) return drawnAt * 1000
    smoothSteps = smoothing * (next - step) + (1 - smoothing) * smoothSteps
    const seconds = secondsPerStep * smoothSteps
    const took = (seconds - (1 - smoothing) * smoothSeconds) / smoothing
    const estimate = Number.isFinite(took) ? drawnAt + took : elapsedSeconds
    const after = Math.max(drawnAt, elapsedSeconds)
    const at = Math.max(after, Math.min(estimate, elapsedSeconds + 0.999))
    smoothSeconds = Number.isFinite(seconds)
      ? seconds
      : smoothing * (at - drawnAt) + (1 - smoothing) * smoothSeconds
    step = next
    drawnAt = at
    return at * 1000
  }
}
