/** Time by which deliveries are scheduled. No correction of the wall clock moves it. */
import type { Timestamp } from '../../domain/job.ts'
import { clamp, hourMs, steadyNow, wallNow } from '../../domain/time.ts'

/** Milliseconds that pass while the service runs, on a scale that started at the wall clock's. */
export type Steady = number

/** `at` is for records and people, `steady` for whatever is scheduled or measured. */
export type Now = Readonly<{ at: Timestamp; steady: Steady }>

export type DeliveryClock = Readonly<{ now(): Now }>

/** A longer stop counts as this long: every back-off has ended by then. */
export const maxStopMs = hourMs

export type ClockSources = Readonly<{ wall(): number; monotonic(): number }>

const ofProcess: ClockSources = { wall: wallNow, monotonic: steadyNow }

/** `kept` is the last time that the previous run stored. */
export function startDeliveryClock(
  kept: Now,
  { wall, monotonic }: ClockSources = ofProcess,
): DeliveryClock {
  const stoppedMs = clamp(wall() - kept.at, 0, maxStopMs)
  const offset = kept.steady + stoppedMs - monotonic()
  return { now: () => ({ at: wall(), steady: offset + monotonic() }) }
}
