/** The clock across runs of the service: what it was when the last one ended, and what follows. */
import { randomUUID } from 'node:crypto'
import { type Kysely, sql } from 'kysely'
import { holdAtStart } from '../../actors/janitor/clock-rules.ts'
import type { Hold } from '../../domain/hold.ts'
import type { GpuHealth, Timestamp } from '../../domain/job.ts'
import { steadyNow, wallNow } from '../../domain/time.ts'
import { bootId, bootMs } from '../machine/boot-clock.ts'
import type { Database } from './schema.ts'
import { transact } from './transact.ts'

/** One moment by all clocks. */
export type ClockReading = Readonly<{
  at: Timestamp
  steadyAt: Timestamp
  bootMs: number
  bootId: string
}>

export const readClock = (): ClockReading => ({
  at: wallNow(),
  steadyAt: steadyNow(),
  bootMs: Math.round(bootMs()),
  bootId: knownBootId(),
})

/** Where it is not shown, each run is taken for another boot. */
function knownBootId(): string {
  try {
    return bootId()
  } catch {
    return randomUUID()
  }
}

/** Less is the coarseness of the clock since the boot. */
const maxJitterMs = 1_000

/**
 * Called once at a start, before anything else is read. Times that still decide something are moved
 * along when the clock was set since the last run, as far as that can be known: within one boot of
 * the machine. Returns for how long nothing is to be deleted by age, and how far the clock was set.
 */
export async function resumeClock(
  db: Kysely<Database>,
  now: ClockReading = readClock(),
): Promise<Readonly<{ hold: Hold | undefined; setByMs: number }>> {
  const last = await db.selectFrom('clock').selectAll().executeTakeFirst()
  const isSameBoot = last?.boot_id === now.bootId && last.boot_ms <= now.bootMs
  const passedMs = isSameBoot ? now.bootMs - last.boot_ms : 0
  const setBy = (then: Timestamp, current: Timestamp): number => {
    const moved = current - (then + passedMs)
    return isSameBoot && Math.abs(moved) > maxJitterMs ? moved : 0
  }
  const setByMs = last ? setBy(last.seen_at, now.at) : 0
  const seenAt = last?.seen_at ?? (await latestActivity(db))
  const stored =
    last?.held_because && last.held_ms > 0
      ? { because: last.held_because, leftMs: last.held_ms }
      : undefined
  const hold = holdAtStart({ seenAt, hold: stored }, now.at)
  await transact(db, async (connection) => {
    if (last) await moveSubmissions(connection, setBy(last.steady_at, now.steadyAt))
    if (setByMs !== 0) await moveOpenTimes(connection, setByMs)
    // A time to come would keep its request for longer than requests are kept.
    await connection
      .updateTable('submission')
      .set({ at: now.steadyAt })
      .where('at', '>', now.steadyAt)
      .execute()
    await noteClock(connection, hold, now)
  })
  return { hold, setByMs }
}

/** The service runs now, and for so much longer nothing is deleted by age. */
export async function noteClock(
  db: Kysely<Database>,
  hold: Hold | undefined,
  now: ClockReading = readClock(),
): Promise<void> {
  const row = {
    boot_id: now.bootId,
    boot_ms: now.bootMs,
    steady_at: now.steadyAt,
    seen_at: now.at,
    held_ms: Math.round(hold?.leftMs ?? 0),
    held_because: hold?.because ?? null,
  }
  await db
    .insertInto('clock')
    .values({ id: 1, ...row })
    .onConflict((conflict) => conflict.column('id').doUpdateSet(row))
    .execute()
}

/** Of a database that has never noted the clock. */
async function latestActivity(db: Kysely<Database>): Promise<Timestamp | undefined> {
  const { submitted, ended } = await db
    .selectFrom('job')
    .select(({ fn }) => [
      fn.max<Timestamp | null>('submitted_at').as('submitted'),
      fn.max<Timestamp | null>('ended_at').as('ended'),
    ])
    .executeTakeFirstOrThrow()
  return submitted === null ? undefined : Math.max(submitted, ended ?? 0)
}

async function moveSubmissions(connection: Kysely<Database>, byMs: number): Promise<void> {
  if (byMs === 0) return
  await connection
    .updateTable('submission')
    .set(({ eb }) => ({ at: eb('at', '+', byMs) }))
    .execute()
}

/** Of jobs that run, and of GPUs in quarantine. What has ended stays as it was told. */
async function moveOpenTimes(connection: Kysely<Database>, byMs: number): Promise<void> {
  await sql`
    update job set claimed_at = claimed_at + ${byMs}, started_at = started_at + ${byMs},
      generated_at = generated_at + ${byMs}
    where status = 'running'
  `.execute(connection)
  await sql`
    update attempt set claimed_at = claimed_at + ${byMs}, started_at = started_at + ${byMs},
      generated_at = generated_at + ${byMs}
    where outcome is null and job_id in (select id from job where status = 'running')
  `.execute(connection)
  for (const { id, health } of await connection.selectFrom('gpu').selectAll().execute()) {
    const { quarantine, ...rest } = JSON.parse(health) as GpuHealth
    if (quarantine?.until === undefined) continue
    const moved: GpuHealth = {
      ...rest,
      quarantine: {
        ...quarantine,
        since: quarantine.since + byMs,
        until: quarantine.until + byMs,
      },
    }
    await connection
      .updateTable('gpu')
      .set({ health: JSON.stringify(moved) })
      .where('id', '=', id)
      .execute()
  }
}
