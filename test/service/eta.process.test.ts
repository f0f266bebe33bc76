import { afterAll, beforeAll, expect, it } from 'vitest'
import type { JobJson } from '../../src/http/views/job-view.ts'
import { createShared, type Service, startService } from '../support/service.ts'

type Attempts = JobJson & {
  attempts: {
    stages: { stage: string; seconds: number | null }[]
    peak_vram_bytes: number | null
  }[]
}
type Accuracy = {
  jobs: number
  checkpoints: { checkpoint: string; estimates: number; mean_error_percent: number }[]
  gpus: { gpu_id: number }[]
}

const shared = createShared()
let service: Service
beforeAll(async () => {
  service = await startService({ ...shared, env: { GPU_IDS: '0', DEFAULT_JOB_S: '10' } })
})
afterAll(shared.clearAway)

it('says when a video will be there, how sure that is, and what it rests on', async () => {
  const before = Date.now()
  const response = await service.post({ prompt: 'a fox', size: '1280x720', frames: 5, steps: 4 })
  const accepted = (await response.json()) as JobJson
  expect(accepted).toMatchObject({ status: 'queued', eta_source: 'default' })
  const { eta_p10_seconds: p10, eta_seconds: eta, eta_p90_seconds: p90 } = accepted
  expect(p10).toBeGreaterThanOrEqual(1)
  expect(eta).toBeGreaterThanOrEqual(p10 ?? 0)
  expect(p90).toBeGreaterThanOrEqual(eta ?? 0)
  const promised = Date.parse(accepted.eta_at ?? '') - before
  expect(promised / 1000 - (eta ?? 0)).toSatisfy((off: number) => off > -1 && off < 10)

  const done = await service.until(accepted.id)
  expect(done).toMatchObject({ eta_seconds: null, eta_at: null, eta_source: null, progress: 1 })
})

it('goes by the run itself once that has been heard, and by the past before', async () => {
  const running = await service.submit({ prompt: 'a hare [sim:step=0.3]', steps: 12 })
  const waiting = await service.submit({ prompt: 'a fox' })
  expect(await service.status(waiting)).toMatchObject({ status: 'queued', eta_source: 'history' })
  const seen: JobJson[] = []
  await service.until(running, (job) => {
    seen.push(job)
    return job.stage === 'decoding' || job.status !== 'running'
  })
  const heard = seen.filter(({ step }) => step !== null && step > 2)
  expect(new Set(heard.map(({ eta_source }) => eta_source))).toEqual(new Set(['events']))
  // Twelve steps of 0.3 s: nobody is told of more than that and some seconds.
  for (const { step, eta_seconds: eta } of heard) {
    expect(eta).toBeGreaterThanOrEqual(Math.floor(0.3 * (11 - (step ?? 0))))
  }
  await service.until(waiting)
})

it('shows where the time of an attempt went', async () => {
  const id = await service.submit({ prompt: 'a wolf [sim:step=0.1]', steps: 10 })
  await service.until(id)
  const { attempts } = await service.json<Attempts>(`/jobs/${id}`)
  const [attempt] = attempts
  const stages = ['loading', 'encoding', 'denoising', 'decoding', 'saving', 'converting']
  expect(attempt?.stages.map(({ stage }) => stage)).toEqual(stages)
  const [, , denoising] = attempt?.stages ?? []
  expect(denoising?.seconds).toBeGreaterThan(0.9)
  expect(attempt?.peak_vram_bytes).toBeGreaterThan(0)
})

it('keeps what it told, and says how true that was', async () => {
  const accuracy = () => service.json<Accuracy>('/eta/accuracy')
  const id = await service.submit({ prompt: 'an elk [sim:step=0.4]', steps: 10 })
  await service.until(id)
  await expect
    .poll(async () => (await accuracy()).checkpoints.map(({ checkpoint }) => checkpoint))
    .toEqual(expect.arrayContaining(['submit', '50']))
  const { jobs, gpus, checkpoints } = await accuracy()
  expect(jobs).toBeGreaterThanOrEqual(4)
  expect(gpus.map(({ gpu_id }) => gpu_id)).toEqual([0])
  for (const { mean_error_percent } of checkpoints) expect(mean_error_percent).toBeGreaterThan(0)
  const [line] = service.log('estimates held against the outcome').slice(-1)
  expect(line).toMatchObject({ jobId: id, offByPercent: { submit: expect.any(Number) } })
})
