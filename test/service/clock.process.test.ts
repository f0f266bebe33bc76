/** The real service by a clock that is set, before a start or while it runs. */
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it, vi } from 'vitest'
import type { JobJson } from '../../src/http/views/job-view.ts'
import { aDataDirectory, quick, type Service, startService } from '../support/service.ts'
import { isOnPostgres } from '../support/store/shared-postgres.ts'

vi.setConfig({ testTimeout: 120_000 })

const hour = 60 * 60_000
const day = 24 * hour
const preload = join(import.meta.dirname, '..', '..', 'bench', 'chaos', 'stepped-clock.ts')

/** A service whose clock can be set; `date -s` would set it for the whole machine. */
function aClock(dataDir = aDataDirectory()) {
  const file = join(dataDir, 'clock')
  return {
    dataDir,
    sets: (ms: number) => writeFileSync(file, String(ms)),
    start: (env: NodeJS.ProcessEnv = {}) =>
      startService({
        dataDir,
        env: { NODE_OPTIONS: `--import=${preload}`, STEPPED_CLOCK: file, ...env },
      }),
  }
}

const submitWithKey = (service: Service, key: string, prompt = 'a fox') =>
  service.request('/generate', {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', 'Idempotency-Key': key },
    body: JSON.stringify({ ...quick, prompt }),
  })

async function idOf(response: Promise<Response>): Promise<string> {
  const answered = await response
  const body = (await answered.json()) as { id: string }
  expect(answered.ok, JSON.stringify(body)).toBe(true)
  return body.id
}

const videoOf = ({ dataDir }: { dataDir: string }, { filename }: JobJson) =>
  join(dataDir, 'results', String(filename))

/** A node goes by the clock of the database, which these tests do not set. */
const onItsOwnClock = it.skipIf(isOnPostgres)

describe('a clock that is set forward before a start', () => {
  onItsOwnClock(
    'deletes nothing by age for a day, also after another start, and the service says so',
    async () => {
      const clock = aClock()
      const env = { RETENTION_DAYS: '10' }
      const jobs: JobJson[] = []
      for (const setBy of [-2 * day, 0]) {
        clock.sets(setBy)
        const service = await clock.start(env)
        for (const prompt of ['a fox', 'an owl'])
          jobs.push(await service.until(await service.submit({ prompt })))
        await service.stop()
      }

      clock.sets(9 * day)
      for (let start = 1; start <= 2; start++) {
        const service = await clock.start(env)
        // Each sweep looks at the clock first.
        await expect.poll(() => metricOf(service, 'wan_deletions_held_seconds')).toBeGreaterThan(0)
        await service.until(await service.submit({ prompt: 'a hare' }))
        for (const job of jobs) {
          expect((await service.request(`/status/${job.id}`)).status).toBe(200)
          expect(existsSync(videoOf(clock, job))).toBe(true)
        }
        const { checks } = await service.json<{ checks: { name: string; detail: string }[] }>(
          '/ready',
        )
        expect(checks.find(({ name }) => name === 'clock')?.detail).toContain('hours of running')
        expect(service.allLogs()).toContain('for 24 hours nothing expires by age')
        await service.stop('SIGKILL')
      }
    },
  )

  it('keeps the key of a request', async () => {
    const clock = aClock()
    const first = await clock.start()
    const id = await idOf(submitWithKey(first, 'one'))
    await first.until(id)
    await first.stop()
    clock.sets(3 * day)
    const second = await clock.start()
    expect(await idOf(submitWithKey(second, 'one'))).toBe(id)
  })

  it('does not stop a generation that is adopted', async () => {
    const clock = aClock()
    const limited = { JOB_TIMEOUT_S: '3600' }
    const first = await clock.start(limited)
    const id = await first.submit({ prompt: 'a slow fox [sim:step=0.2]', steps: 20 })
    await first.until(id, ({ status, step }) => status === 'running' && Number(step) > 0)
    await first.stop('SIGKILL')
    clock.sets(9 * day)
    const second = await clock.start(limited)
    expect(await second.until(id)).toMatchObject({ status: 'success', attempt: 1 })
  })
})

describe('a clock that was ahead and is set right before a start', () => {
  it('makes no client wait for longer than an hour', async () => {
    const clock = aClock()
    const env = { JOBS_PER_HOUR: '1' }
    clock.sets(3 * day)
    const first = await clock.start(env)
    await first.until(await first.submit({ prompt: 'a fox' }))
    await first.stop()
    clock.sets(0)
    const second = await clock.start(env)
    const refused = await second.post({ ...quick, prompt: 'an owl' })
    expect(refused.status).toBe(429)
    expect(Number(refused.headers.get('Retry-After'))).toBeLessThanOrEqual(3_600)
    expect(Number(refused.headers.get('Retry-After'))).toBeGreaterThan(3_000)
  })
})

describe('a clock that is set while the service runs', () => {
  it.each([9, -2, -40])(
    'makes no second job of a request, no longer wait, and stops no generation (%d days)',
    async (days) => {
      const clock = aClock()
      const service = await clock.start({ JOBS_PER_HOUR: '2' })
      const id = await idOf(submitWithKey(service, 'one', 'a fox [sim:step=0.5]'))
      await service.until(id, ({ status, step }) => status === 'running' && Number(step) > 0)
      const before = Date.now()
      clock.sets(days * day)
      await expect
        .poll(async () => Date.parse((await service.status(id)).eta_at ?? '') - before)
        .toSatisfy((ms: number) => Number.isNaN(ms) || Math.abs(ms - days * day) < hour)
      expect(await idOf(submitWithKey(service, 'one', 'a fox [sim:step=0.5]'))).toBe(id)
      const job = await service.until(id)
      expect(job).toMatchObject({ status: 'success', attempt: 1 })
      await service.submit({ prompt: 'an owl' })
      const refused = await service.post({ ...quick, prompt: 'a hare' })
      expect(refused.status).toBe(429)
      expect(Number(refused.headers.get('Retry-After'))).toBeLessThanOrEqual(3_600)
    },
  )

  onItsOwnClock('does not move an estimate', async () => {
    const clock = aClock()
    const service = await clock.start()
    // Long steps: between two of them only the clock tells how far it is.
    const id = await service.submit({ prompt: 'a slow fox [sim:step=4]', steps: 3 })
    const running = await service.until(id, ({ step }) => step === 1)
    for (const days of [9, -2, 0]) {
      clock.sets(days * day)
      await service.until(id, ({ eta_at }) => isNear(eta_at, Date.now() + days * day))
      const { eta_seconds, progress } = await service.status(id)
      expect(eta_seconds).toBeGreaterThanOrEqual(0)
      expect(eta_seconds).toBeLessThan(3 * (running.eta_seconds ?? 0) + 10)
      expect(progress).toBeGreaterThanOrEqual(running.progress)
    }
    expect((await service.until(id)).status).toBe('success')
  })
})

const isNear = (time: string | null, at: number): boolean =>
  time !== null && Math.abs(Date.parse(time) - at) < hour

async function metricOf(service: Service, name: string): Promise<number> {
  const text = await (await service.request('/metrics')).text()
  return Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(text)?.[1] ?? Number.NaN)
}
