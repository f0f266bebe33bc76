/** Whether the clock can be believed: a wrong one must not make everything look old. */

import type { Doubt, Hold } from '../../domain/hold.ts'
import type { Timestamp } from '../../domain/job.ts'
import { dayMs, hourMs } from '../../domain/time.ts'

/** The time by the clock, which may be set, and by a counter that nobody can set. */
export type Moment = Readonly<{ at: Timestamp; uptimeMs: number }>

export type Clock = Readonly<{
  /** Found at the start, and not yet counted from. */
  found?: Hold
  /** When the counter that nobody can set was at 0, by the clock as it is believed. */
  origin?: Timestamp
  held?: Readonly<{ because: Doubt; untilUptimeMs: number }>
  doubt?: Doubt
}>

/** Small corrections are everyday, and a job expires a little early or late by them. */
export const maxCorrectionMs = hourMs

/** How long an operator has for a look at what the log says. */
export const holdMs = dayMs

/** A machine that is off every night or weekend must not begin the same hold again and again. */
const maxUsualGapMs = 3 * dayMs

/**
 * At a start. A service that was off for weeks looks the same as a clock that is weeks ahead, so
 * both are held. A hold that had not ended goes on.
 */
export function holdAtStart(
  { seenAt, hold }: Readonly<{ seenAt: Timestamp | undefined; hold: Hold | undefined }>,
  at: Timestamp,
): Hold | undefined {
  const gap = seenAt === undefined ? 0 : at - seenAt
  if (Math.abs(gap) <= maxCorrectionMs || (hold && Math.abs(gap) <= maxUsualGapMs)) return hold
  return { because: gap > 0 ? 'gap' : 'behind', leftMs: holdMs }
}

/** `latestEnd`: when the last of all jobs ended that are there. */
export function lookAtClock(
  clock: Clock,
  now: Moment,
  latestEnd: Timestamp | undefined,
  retentionMs: number,
): Clock {
  const { found, origin, held } = clock
  const shown = now.at - now.uptimeMs
  // Many small steps count together: what is compared is the clock as it was first seen.
  const hasJumped = origin !== undefined && Math.abs(shown - origin) > maxCorrectionMs
  const isFirst = origin === undefined
  const isAllDue =
    isFirst && retentionMs > 0 && latestEnd !== undefined && latestEnd < now.at - retentionMs
  const next: Hold | undefined = hasJumped
    ? { because: 'jumped', leftMs: holdMs }
    : (found ?? (isAllDue ? { because: 'all_due', leftMs: holdMs } : undefined))
  const holding = next ? { because: next.because, untilUptimeMs: now.uptimeMs + next.leftMs } : held
  const isHeld = holding !== undefined && now.uptimeMs < holding.untilUptimeMs
  return {
    origin: isFirst || hasJumped ? shown : origin,
    ...(isHeld && { held: holding, doubt: holding.because }),
  }
}

/** What is left of the hold, for the next run of the service. */
export const holdOf = ({ held }: Clock, { uptimeMs }: Moment): Hold | undefined =>
  held && { because: held.because, leftMs: held.untilUptimeMs - uptimeMs }
