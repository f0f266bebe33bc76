import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { GpuHealth } from '../../../src/domain/job.ts'
import { type ClockReading, noteClock, resumeClock } from '../../../src/infra/store/clock-store.ts'
import { gpu0, gpu1, jobId } from '../../support/jobs.ts'
import { createSqliteStores, type SqliteStores } from '../../support/store/sqlite-stores.ts'
import { claim, minute, submit } from '../../support/store-suites/operations.ts'

const minutes = (count: number) => count * 60_000
const hours = (count: number) => count * 60 * 60_000
const days = (count: number) => count * 24 * 60 * 60_000
const quarantine = { reason: 'failures', strikes: 1, probing: false } as const

let stores: SqliteStores
beforeEach(async () => {
  stores = await createSqliteStores()
})
afterEach(() => stores.close())

/** So long after the last run of the service was seen, with a clock that was set by so much since. */
const now = (afterMs: number, setByMs = 0, boot = 'this boot'): ClockReading => ({
  at: minute(0) + afterMs + setByMs,
  steadyAt: minute(0) + afterMs + setByMs,
  bootMs: boot === 'this boot' ? hours(5) + afterMs : minutes(1),
  bootId: boot,
})

const start = (afterMs: number, setByMs?: number, boot?: string) =>
  resumeClock(stores.db, now(afterMs, setByMs, boot))

const remember = (n: number, at: number) =>
  stores.jobs.commit([
    submit(n),
    {
      op: 'remember',
      jobId: jobId(n),
      identity: { caller: 'fox', fingerprint: 'same', key: `key ${n}` },
      keepSince: 0,
      at,
    },
  ])

async function submissions(): Promise<number[]> {
  const rows = await stores.db.selectFrom('submission').select('at').orderBy('job_id').execute()
  return rows.map(({ at }) => at)
}

describe('a start of the service', () => {
  it('of a new database finds nothing to say of the clock', async () => {
    expect(await start(0)).toEqual({ hold: undefined, setByMs: 0 })
  })

  it('goes by the latest job when no earlier version has noted the clock', async () => {
    await stores.jobs.commit([submit(1)])
    expect((await start(hours(1))).hold).toBeUndefined()
    await stores.db.deleteFrom('clock').execute()
    expect((await start(days(9))).hold).toMatchObject({ because: 'gap' })
  })

  it('holds deletions after a gap, also when it is killed before it has done anything', async () => {
    await start(0)
    expect((await start(days(9))).hold).toEqual({ because: 'gap', leftMs: days(1) })
    expect((await start(days(9) + minutes(1))).hold).toEqual({ because: 'gap', leftMs: days(1) })
  })

  it('goes on with what was left of a hold', async () => {
    await start(0)
    await noteClock(stores.db, { because: 'jumped', leftMs: hours(7) }, now(minutes(30)))
    expect((await start(minutes(31))).hold).toEqual({ because: 'jumped', leftMs: hours(7) })
    await noteClock(stores.db, undefined, now(minutes(40)))
    expect((await start(minutes(41))).hold).toBeUndefined()
  })

  it.each([days(9), -days(2), hours(2), -days(3_000)])(
    'moves what requests are remembered by when the clock was set by %d ms within one boot',
    async (setByMs) => {
      await start(0)
      await remember(1, minute(10))
      await remember(2, minute(20))
      expect((await start(minutes(30), setByMs)).setByMs).toBe(setByMs)
      expect(await submissions()).toEqual([minute(10) + setByMs, minute(20) + setByMs])
      await start(minutes(40))
      expect(await submissions()).toEqual([minute(10), minute(20)])
    },
  )

  it('counts from the steady clock of the last run, which was not set with the wall clock', async () => {
    await start(0)
    await remember(1, minute(10))
    await noteClock(stores.db, undefined, { ...now(minutes(20)), at: minute(20) + days(9) })
    await start(minutes(30), days(9))
    expect(await submissions()).toEqual([minute(10) + days(9)])
  })

  it('leaves all times as they are when the clock went on as it should', async () => {
    await start(0)
    await remember(1, minute(-10))
    const before = await stores.contents()
    expect((await start(0)).setByMs).toBe(0)
    expect(await stores.contents()).toBe(before)
  })

  it('remembers no request for longer than from now after another boot', async () => {
    await start(0)
    await remember(1, minute(10))
    await remember(2, minute(20))
    await start(minutes(30), -minutes(15), 'another boot')
    expect(await submissions()).toEqual([minute(10), minute(15)])
  })

  it('moves the times of jobs that run, and leaves those of jobs that wait', async () => {
    await start(0)
    await stores.jobs.commit([submit(1), submit(2), claim(1)])
    await start(minutes(5), days(9))
    const { running, waiting } = await stores.jobs.load(0)
    expect(running[0]?.state).toMatchObject({ claimedAt: minute(1) + days(9) })
    expect(waiting[0]?.submittedAt).toBe(minute(0))
    const [attempt] = await stores.jobs.attempts(jobId(1))
    expect(attempt).toMatchObject({ claimedAt: minute(1) + days(9) })
  })

  it('moves the end of a quarantine', async () => {
    await start(0)
    const health = (until?: number): GpuHealth => ({
      drained: false,
      failures: [],
      quarantine: { ...quarantine, since: minute(1), ...(until !== undefined && { until }) },
    })
    await stores.jobs.commit([
      { op: 'setGpuHealth', gpu: gpu0, health: health(minute(3)) },
      { op: 'setGpuHealth', gpu: gpu1, health: health() },
    ])
    await start(minutes(2), -days(10))
    const { gpus } = await stores.jobs.load(0)
    expect(gpus.get(gpu0)?.quarantine).toMatchObject({ until: minute(3) - days(10) })
    expect(gpus.get(gpu1)).toEqual(health())
  })
})
