import { once } from 'node:events'
import { renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { canSlowFsync, slowFsync } from '../../bench/slow-fsync.ts'
import { aDataDirectory, quick, type Service, startService } from '../support/service.ts'
import { aDatabaseLockHolder } from '../support/store/database-lock-holder.ts'
import { isOnPostgres } from '../support/store/shared-postgres.ts'

const lost = 'the database is no longer that of this service'

// Several services each, and a check that is made every 30 seconds.
vi.setConfig({ testTimeout: 120_000 })

// These are tests of the file of SQLite.
describe.skipIf(isOnPostgres)('two services', () => {
  it('with one STATE_DB, even through a symbolic link: the second one does not start', async () => {
    const first = await startService()
    const stateDb = join(first.dataDir, 'state.db')
    const other = aDataDirectory()
    symlinkSync(stateDb, join(other, 'link.db'))
    for (const STATE_DB of [stateDb, join(other, 'link.db')]) {
      await expect(startService({ dataDir: other, env: { STATE_DB } })).rejects.toThrow(
        /in use by another wan-supervisor \(pid \d+\)\. Stop that one first, or give this one its own STATE_DB/,
      )
    }
    expect((await first.request('/health')).status).toBe(200)
  })

  it('of which the second removed the locks: the first one ends, and no job is generated twice', async () => {
    const first = await startService({ env: { SIM_SPEED: '100' } })
    const { dataDir } = first
    const busy = await first.submit({ prompt: 'busy', steps: 50 })
    const waiting = await Promise.all([1, 2, 3, 4].map((n) => first.submit({ prompt: `w ${n}` })))
    await first.until(busy, ({ status }) => status === 'running')
    const ended = once(first.child, 'exit')
    for (const name of ['service.lock', 'state.db.lock']) rmSync(join(dataDir, name))

    const second = await startService({ dataDir, env: { SIM_SPEED: '100' } })
    expect((await ended)[0]).toBe(1)
    expect(first.log(lost)).toHaveLength(1)
    for (const id of [busy, ...waiting]) {
      expect(await second.until(id)).toMatchObject({ status: 'success', attempt: 1 })
    }
    expect(second.journal().filter(({ event }) => event === 'start')).toHaveLength(5)
  })
})

describe.skipIf(isOnPostgres)('a service', () => {
  it.each<[what: string, change: (dataDir: string) => void, why: string]>([
    [
      'whose lock was removed',
      (dir) => rmSync(join(dir, 'service.lock')),
      'service.lock was removed',
    ],
    [
      'whose lock was replaced',
      (dir) => {
        renameSync(join(dir, 'service.lock'), join(dir, 'old.lock'))
        writeFileSync(join(dir, 'service.lock'), '')
      },
      'service.lock was replaced',
    ],
    [
      'whose database was replaced',
      (dir) => {
        renameSync(join(dir, 'state.db'), join(dir, 'old.db'))
        writeFileSync(join(dir, 'state.db'), '')
      },
      'state.db was replaced',
    ],
  ])('%s ends with status 1 and says so', async (_what, change, why) => {
    const service = await startService()
    const ended = once(service.child, 'exit')
    change(service.dataDir)
    expect((await ended)[0]).toBe(1)
    expect(service.log(lost)).toMatchObject([{ reason: expect.stringContaining(why) }])
  })

  it('whose journal was removed keeps every job that it took', async () => {
    const service = await startService({ env: { SIM_SPEED: '1' } })
    const ids = await Promise.all([1, 2, 3].map((n) => service.submit({ prompt: `job ${n}` })))
    const ended = once(service.child, 'exit')
    rmSync(join(service.dataDir, 'state.db-wal'))
    expect((await ended)[0]).toBe(1)

    const next = await startService({ dataDir: service.dataDir })
    for (const id of ids) expect(await next.until(id)).toMatchObject({ status: 'success' })
  })

  it('answers while another program holds the lock of the database, and goes on after that', async () => {
    const service = await startService()
    const busy = await service.submit({ prompt: 'busy [sim:step=0.1]', steps: 20 })
    await service.until(busy, ({ stage }) => stage === 'denoising')
    const holder = await aDatabaseLockHolder(join(service.dataDir, 'state.db'))

    const submitted = timed(() => service.post({ ...quick, prompt: 'refused' }))
    const canceled = timed(() => service.request(`/jobs?ids=${busy}`, { method: 'DELETE' }))
    const registered = timed(() =>
      service.request('/webhook', {
        method: 'POST',
        headers: { 'Content-Type': 'application/json' },
        body: JSON.stringify({ url: 'https://93.184.215.14/' }),
      }),
    )
    const { worst } = await timesOf(service, ['/health', `/status/${busy}`, '/jobs'], 40)
    // A loop that waits for the lock stands still for seconds.
    expect(worst).toBeLessThan(1_500)
    for (const change of [submitted, canceled, registered]) {
      const { response, tookMs } = await change
      expect(response.status).toBe(503)
      expect(await response.json()).toMatchObject({ code: 'database_locked' })
      expect(tookMs).toBeLessThan(5_000)
    }
    await expect
      .poll(async () => (await service.request('/ready')).status, { timeout: 45_000 })
      .toBe(503)

    holder.kill('SIGKILL')
    expect(await service.until(busy)).toMatchObject({ status: 'success', attempt: 1 })
    const later = await service.submit({ prompt: 'later' })
    expect(await service.until(later)).toMatchObject({ status: 'success' })
    const { jobs } = await service.json<{ jobs: { prompt: string }[] }>('/jobs')
    expect(jobs.map(({ prompt }) => prompt)).not.toContain('refused')
    expect(service.log('actor crashed; it will be started again')).toEqual([])
  })

  it.runIf(canSlowFsync())('answers at once while each fsync takes 150 ms', async () => {
    const slow = slowFsync(150)
    onTestFinished(slow.remove)
    const service = await startService({ env: slow.env })
    let isOver = false
    const submits = Promise.all(
      Array.from({ length: 8 }, async (_, n) => {
        const ids: string[] = []
        while (!isOver) ids.push(await service.submit({ prompt: `job ${n}` }))
        return ids
      }),
    )
    const known = await service.submit({ prompt: 'known' })
    const { median } = await timesOf(service, ['/health', `/status/${known}`, '/jobs'], 150)
    isOver = true
    const ids = (await submits).flat()
    // A loop that waits for each commit makes most requests wait for one or two.
    expect(median).toBeLessThan(60)
    for (const id of [known, ...ids.slice(0, 5)]) {
      expect(await service.until(id)).toMatchObject({ status: 'success' })
    }
  })
})

async function timed(send: () => Promise<Response>) {
  const began = performance.now()
  const response = await send()
  return { response, tookMs: performance.now() - began }
}

/** Milliseconds of many requests, one after the other. */
async function timesOf(service: Service, paths: readonly string[], count: number) {
  const times: number[] = []
  for (let n = 0; n < count; n++) {
    const path = paths[n % paths.length] ?? ''
    const { response, tookMs } = await timed(() => service.request(path))
    expect(response.status).toBe(200)
    await response.arrayBuffer()
    times.push(tookMs)
    await delay(20)
  }
  const sorted = times.toSorted((a, b) => a - b)
  return { median: sorted[count >> 1] ?? 0, worst: sorted.at(-1) ?? 0 }
}
