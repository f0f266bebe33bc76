/**
 * The time of the database, so that stored times of all nodes are times of one clock. No node's wall clock is read:
 * the time is that of the last look plus the monotonic time since then.
 */
import type { Connection } from './database.ts'
import type { Look } from './watch.ts'

/** Time of the database minus monotonic time, and how far it may be off; both in milliseconds. */
export type ClockOffset = Readonly<{ offset: number; error: number; at: number }>

/** Clocks of computers drift apart by less than this. */
const maxDriftPerMs = 200e-6

/** The answer was read at some time between question and answer. */
export const offsetOf = (databaseMs: number, { askedAt, answeredAt }: Look): ClockOffset => ({
  offset: databaseMs - (askedAt + answeredAt) / 2,
  error: (answeredAt - askedAt) / 2,
  at: answeredAt,
})

/** The better of two: the newer one if it is more exact by now, or if the clock of the database was set. */
export function betterOffset(before: ClockOffset, next: ClockOffset): ClockOffset {
  const error = before.error + (next.at - before.at) * maxDriftPerMs
  const wasSet = Math.abs(next.offset - before.offset) > error + next.error
  return wasSet || next.error <= error ? next : before
}

/** Corrections below this hold the clock instead of setting it back. */
const maxHeldMs = 1_000

export type DatabaseClock = {
  /** Whole milliseconds since 1970. Goes back only when the clock of the database was set back by a second or more. */
  now(): number
  /** How far the time may be off, in milliseconds. */
  maxErrorMs(): number
  observe(databaseMs: number, look: Look): void
}

export function createDatabaseClock(
  first: ClockOffset,
  monotonicNow: () => number = () => performance.now(),
): DatabaseClock {
  let best = first
  let latest = Number.NEGATIVE_INFINITY
  return {
    now() {
      const time = Math.round(best.offset + monotonicNow())
      latest = latest - time > maxHeldMs ? time : Math.max(latest, time)
      return latest
    },
    maxErrorMs: () => best.error + (monotonicNow() - best.at) * maxDriftPerMs,
    observe(databaseMs, look) {
      best = betterOffset(best, offsetOf(databaseMs, look))
    },
  }
}

/** Expression for statements that report the time of the database, in milliseconds since 1970. */
export const databaseMs = '(extract(epoch from clock_timestamp()) * 1000)::float8'

/** A second look is without the connect. */
export async function readDatabaseClock(
  { query }: Connection,
  monotonicNow?: () => number,
): Promise<DatabaseClock> {
  const look = async () => {
    const { rows, ...times } = await query<{ ms: number }>(`select ${databaseMs} as ms`)
    return offsetOf(Number(rows[0]?.ms), times)
  }
  return createDatabaseClock(betterOffset(await look(), await look()), monotonicNow)
}
