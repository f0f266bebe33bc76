export const hourMs = 60 * 60 * 1000
export const dayMs = 24 * hourMs

/** Longest delay of a timer in Node: a longer one would fire at once. */
export const maxTimerMs = 2 ** 31 - 1

let clock = (): number => Date.now()
let isReplaced = false
let origin = Date.now() - performance.now()

/**
 * Replaces the clock of this machine, before anything is read from it: all nodes of a cluster go by
 * the clock of its database. `now`: milliseconds since 1970.
 */
export function useClock(now: () => number): void {
  clock = now
  isReplaced = true
  origin = now() - performance.now()
}

/** Time for records and people: the clock of this machine or of the cluster. */
export const wallNow = (): number => clock()

/**
 * Time for decisions: the clock as it stood when this process started, carried on by the monotonic
 * clock. Setting the clock does not move it. Times that people read are those of `wallNow`.
 */
export const steadyNow = (): number => Math.round(origin + performance.now())

/** Less is rounding: both clocks are slewed alike, so they part only when the clock is set. */
const maxJitterMs = 1_000

let shift = 0

/** How far the clock has been set since this process started, in milliseconds. */
export function clockShift(): number {
  const seen = wallNow() - steadyNow()
  if (Math.abs(seen - shift) > maxJitterMs) shift = Math.abs(seen) > maxJitterMs ? seen : 0
  return shift
}

/**
 * How far the clock of this machine, by which files and other processes are timed, is ahead of `wallNow`.
 */
export const machineSkew = (): number => (isReplaced ? Date.now() - wallNow() : 0)

export const clamp = (value: number, low: number, high: number): number =>
  Math.min(high, Math.max(low, value))
