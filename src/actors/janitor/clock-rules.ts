/** Whether the clock can be believed: a wrong one must not make everything look old. */

import type { Timestamp } from '../../domain/job.ts'
import { dayMs } from '../../domain/time.ts'

/** The time by the clock, which may be set, and by a counter that nobody can set. */
export type Moment = Readonly<{ at: Timestamp; uptimeMs: number }>

/**
 * `behind`: of a job that has ended already. `jumped`: it was set while we ran. `all_due`: when we
 * began, not one job was young enough to be kept.
 */
export type Doubt = 'behind' | 'jumped' | 'all_due'

export type Clock = Readonly<{
  seen?: Moment
  held?: Readonly<{ because: 'jumped' | 'all_due'; untilUptimeMs: number }>
  doubt?: Doubt
}>

/** Small corrections are everyday, and a job expires a little early or late by them. */
const maxCorrectionMs = 60 * 60_000
const maxLagMs = 60_000

/** How long an operator has for a look at what the log says. */
export const holdMs = dayMs

/** `latestEnd`: when the last of all jobs ended that are there. */
export function lookAtClock(
  { seen, held }: Clock,
  now: Moment,
  latestEnd: Timestamp | undefined,
  retentionMs: number,
): Clock {
  const moved = seen ? now.at - seen.at - (now.uptimeMs - seen.uptimeMs) : 0
  const isAllDue =
    !seen && retentionMs > 0 && latestEnd !== undefined && latestEnd < now.at - retentionMs
  const because = Math.abs(moved) > maxCorrectionMs ? 'jumped' : isAllDue ? 'all_due' : undefined
  const untilUptimeMs = now.uptimeMs + holdMs
  const holding = because ? ({ because, untilUptimeMs } as const) : held
  const isHeld = holding && now.uptimeMs < holding.untilUptimeMs
  const isBehind = latestEnd !== undefined && now.at < latestEnd - maxLagMs
  const doubt = isBehind ? 'behind' : isHeld ? holding.because : undefined
  return { seen: now, ...(isHeld && { held: holding }), ...(doubt && { doubt }) }
}
