import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import SQLite from 'better-sqlite3'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import type { JobDetailJson } from '../../src/http/views/job-view.ts'
import {
  aDataDirectory,
  createShared,
  quick,
  type Service,
  startService,
} from '../support/service.ts'
import { isOnPostgres } from '../support/store/shared-postgres.ts'

const shared = createShared()
let service: Service
let id: string
beforeAll(async () => {
  service = await startService({ atEnd: shared.atEnd })
  id = await service.submit({ prompt: "a fox's den", seed: 4711 })
  await service.until(id)
})
afterAll(shared.clearAway)

type Stats = Readonly<{
  from: string
  to: string
  step_seconds: number
  waiting: number[]
  gpus: { gpu_id: number; busy: number[] }[]
  loading: {
    cold: { starts: number; gpu_seconds: number }
    warm: { starts: number; gpu_seconds: number; gpu_seconds_if_cold: number | null }
    cold_runs: number
    unknown: number
  }
}>

describe('GET /stats', () => {
  it('says for each step how many jobs waited and how busy each GPU was', async () => {
    const { from, to, step_seconds, waiting, gpus } = await service.json<Stats>('/stats?hours=1')
    expect(step_seconds).toBe(37.5)
    expect(Date.parse(to) - Date.parse(from)).toBe(3_600_000)
    expect(waiting).toEqual(Array(96).fill(0))
    expect(gpus.map(({ gpu_id }) => gpu_id)).toEqual([0, 1])
    const busy = gpus.map((gpu) => gpu.busy.reduce((sum, share) => sum + share))
    expect(gpus.map((gpu) => gpu.busy.length)).toEqual([96, 96])
    expect(busy.filter((steps) => steps > 0)).toHaveLength(1)
  })

  it('counts who waits now', async () => {
    for (const gpu of [0, 1]) await service.request(`/gpus/${gpu}/drain`, { method: 'POST' })
    for (const n of [1, 2, 3]) await service.submit({ prompt: `fox ${n} waits` })
    const { waiting } = await service.json<Stats>('/stats')
    expect(waiting.at(-1)).toBe(3)
    expect(waiting.at(-2)).toBe(0)
    await service.request('/jobs?status=queued', { method: 'DELETE' })
    expect((await service.json<Stats>('/stats')).waiting.at(-1)).toBe(0)
    for (const gpu of [0, 1]) await service.request(`/gpus/${gpu}/resume`, { method: 'POST' })
  })

  it('says what loading took, cold and warm, and what the warm starts would have taken cold', async () => {
    const own = await startService({ env: { WARM_START: 'off', SIM_LOAD: '2', GPU_IDS: '0' } })
    const runs = async (on: Service, prompt: string) => on.until(await on.submit({ prompt }))
    const loading = async (on: Service) => (await on.json<Stats>('/stats')).loading
    expect(await loading(own)).toEqual({
      cold: { starts: 0, gpu_seconds: 0 },
      warm: { starts: 0, gpu_seconds: 0, gpu_seconds_if_cold: null },
      cold_runs: 0,
      unknown: 0,
    })
    await runs(own, 'cold')
    const { cold, warm } = await loading(own)
    expect(cold.starts).toBe(1)
    expect(cold.gpu_seconds).toBeGreaterThan(0)
    expect(warm).toEqual({ starts: 0, gpu_seconds: 0, gpu_seconds_if_cold: null })
    await own.stop()

    const env = { WARM_START: 'on', SIM_LOAD: '2', GPU_IDS: '0' }
    const again = await startService({ dataDir: own.dataDir, env })
    await vi.waitUntil(() => again.log('generations are forked from the template').length > 0, {
      timeout: 30_000,
    })
    for (const prompt of ['warm', 'warm too']) await runs(again, prompt)
    const after = await loading(again)
    expect(after).toMatchObject({ cold, warm: { starts: 2 }, cold_runs: 1, unknown: 0 })
    expect(after.warm.gpu_seconds_if_cold).toBeCloseTo(2 * cold.gpu_seconds)
    expect(after.warm.gpu_seconds).toBeLessThan(after.warm.gpu_seconds_if_cold ?? 0)
  })

  it.each(['0', '169', 'all'])('refuses %s hours', async (hours) => {
    const response = await service.request(`/stats?hours=${hours}`)
    expect(response.status).toBe(422)
    expect(await response.json()).toMatchObject({ code: 'invalid_request', field: 'hours' })
  })
})

describe('GET /eta/outcomes', () => {
  it('holds what was told of a video against what became true', async () => {
    const { submitted_at, ended_at } = await service.status(id)
    // What has been told is written down once a second, and the video may be there sooner.
    const outcomes = await vi.waitFor(async () => {
      const found = await service.json<{ outcomes: Record<string, number>[] }>('/eta/outcomes')
      expect(found.outcomes).not.toEqual([])
      return found.outcomes
    }, 10_000)
    expect(outcomes).toEqual([
      {
        job_id: id,
        submitted_at: expect.any(String),
        eta_seconds: expect.any(Number),
        eta_p10_seconds: expect.any(Number),
        eta_p90_seconds: expect.any(Number),
        actual_seconds: expect.any(Number),
      },
    ])
    const took = (Date.parse(String(ended_at)) - Date.parse(submitted_at)) / 1000
    expect(outcomes[0]?.actual_seconds).toBeCloseTo(took, 0)
  })
})

describe('an attempt that is under way', () => {
  it('says where its time has gone so far', async () => {
    const running = await service.submit({ prompt: 'a fox [sim:step=0.5]', ...quick })
    await service.until(running, ({ stage, step }) => stage === 'denoising' && Number(step) > 0)
    const { attempts } = await service.json<JobDetailJson>(`/jobs/${running}`)
    expect(attempts[0]?.stages.map(({ stage, seconds }) => [stage, seconds === null])).toEqual([
      ['loading', false],
      ['encoding', false],
      ['denoising', true],
    ])
    await service.request(`/jobs?ids=${running}`, { method: 'DELETE' })
  })
})

describe('the command of an attempt', () => {
  it('has an item per argument, the prompt as one of them', async () => {
    const command = await commandOf(service, id)
    expect(command).toContain('generate.py')
    expect(command.at(-1)).toBe("--prompt=a fox's den")
    expect(command[command.indexOf('--base_seed') + 1]).toBe('4711')
  })

  it('is that which it was run with, whatever the settings are now', async () => {
    const dataDir = aDataDirectory()
    const first = await startService({ dataDir, env: { WAN_EXTRA_ARGS: '["--t5_cpu"]' } })
    const job = await first.submit({ prompt: 'a fox [sim:hang-step]', ...quick })
    await first.until(job, ({ stage }) => stage === 'denoising')
    const spec = readFileSync(join(dataDir, 'work', job, '1', 'spec.json'), 'utf8')
    const { argv } = JSON.parse(spec) as { argv: string[] }
    await first.stop()
    const second = await startService({ dataDir })
    expect(await commandOf(second, job)).toEqual(argv)
    expect(argv).toContain('--t5_cpu')
    const next = await second.submit({ prompt: 'an owl', ...quick })
    await second.until(next, ({ started_at }) => started_at !== null)
    const command = await commandOf(second, next)
    expect(command).toContain('generate.py')
    expect(command).not.toContain('--t5_cpu')
  })

  it.skipIf(isOnPostgres)('goes with a job that is deleted, for the prompt is in it', async () => {
    const own = await startService()
    const job = await own.submit({ prompt: 'a fox nobody is to know of', ...quick })
    await own.until(job)
    const attempts = () => {
      const database = new SQLite(join(own.dataDir, 'state.db'), { readonly: true })
      const found = database.prepare('select * from attempt').all()
      database.close()
      return JSON.stringify(found)
    }
    expect(attempts()).toContain('nobody is to know')
    await own.request(`/v1/videos/video_${job}`, { method: 'DELETE' })
    expect(attempts()).not.toContain('nobody is to know')
  })

  async function commandOf(of: Service, job: string): Promise<string[]> {
    const { attempts } = await of.json<JobDetailJson>(`/jobs/${job}`)
    return attempts[0]?.command ?? []
  }
})
