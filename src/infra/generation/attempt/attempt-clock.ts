/** The time line of one attempt: its times fit each other, also when the clock is set meanwhile. */
import type { Timestamp } from '../../../domain/job.ts'
import { clamp, clockShift, machineSkew, steadyNow } from '../../../domain/time.ts'

export type AttemptClock = Readonly<{
  /** The clock as it stood when the attempt was started or adopted, carried on. */
  now(): Timestamp
  /**
   * Start of the worker. `told`: by the clock as it stood then. `ageMs`: by the clock since the
   * boot. A start whose age is unknown is not earlier than this observer.
   */
  startedAt(told: Timestamp, ageMs: number | undefined): Timestamp
  /** A time that was written down beside the generation, moved to this line. */
  place(written: Timestamp): Timestamp
}>

/** Clocks that differ by less agree: the clock since the boot is that coarse. */
const maxDisagreementMs = 2_000

export function createAttemptClock(
  steady: () => Timestamp = steadyNow,
  shift: () => number = clockShift,
  skew: () => number = machineSkew,
): AttemptClock {
  const shiftAtBegin = shift()
  const beganAt = now()
  let start: { at: Timestamp; told: Timestamp } | undefined

  function now(): Timestamp {
    return steady() + shiftAtBegin
  }

  return {
    now,
    startedAt(toldHere, ageMs) {
      const told = toldHere - skew()
      const latest = now()
      const at = ageMs === undefined ? clamp(told, beganAt, latest) : latest - ageMs
      start ??= { at: Math.abs(at - told) <= maxDisagreementMs ? Math.min(told, latest) : at, told }
      return start.at
    },
    /** Written since this observer was there, or before it by a clock that was set since. */
    place(written) {
      const here = written - skew() - (shift() - shiftAtBegin)
      if (!start || (start.at <= here && here <= now() + maxDisagreementMs)) return here
      return here + start.at - start.told
    },
  }
}
