/** Fakes for tests of the estimates. */
import type { EstimateOutcome, PastAttempt } from '../../src/actors/eta/eta-ports.ts'
import type { RunningAttempt } from '../../src/actors/eta/running.ts'
import type { SpeedModelOptions } from '../../src/actors/eta/speed-model.ts'
import type { FinishedAttempt } from '../../src/actors/queue/queue-protocol.ts'
import { restoreQueue } from '../../src/actors/queue/queue-restore.ts'
import type { QueueState } from '../../src/actors/queue/queue-state.ts'
import { RunningJobs } from '../../src/actors/queue/running-jobs.ts'
import type { GpuId, Job, Reading, Shape } from '../../src/domain/job.ts'
import { aQueuedJob, gpu0, gpu1, gpu2, jobId, midnight, queueSettings } from './jobs.ts'

export const usual: Shape = { size: '1280x720', frames: 121, steps: 50 }
export const hour = 3_600_000

export function speeds(wished: Partial<SpeedModelOptions> = {}): SpeedModelOptions {
  return {
    kinds: new Map([gpu0, gpu1, gpu2].map((gpu) => [gpu, undefined])),
    defaults: { usual, seconds: () => 540 },
    bootedAt: 0,
    ...wished,
  }
}

/** Jobs 1 to `waiting` wait. */
export function aQueue({
  waiting = 0,
  jobs = Array.from({ length: waiting }, (_, index) => aQueuedJob(index + 1)),
  running = [],
  ready = [],
  gpus = [gpu0, gpu1, gpu2],
}: {
  waiting?: number
  jobs?: Job[]
  running?: Job[]
  ready?: GpuId[]
  gpus?: GpuId[]
}): QueueState {
  const restored = restoreQueue(
    { ...queueSettings, gpus },
    {
      nextSeq: waiting + 1,
      waiting: jobs,
      running,
      gpus: new Map(),
      drainedNodes: new Set(),
      lost: [],
      submissions: [],
    },
  )
  return { ...restored, readyGpus: new Map(ready.map((gpu) => [gpu, `gpu-${gpu}.1`])) }
}

export function withReading(queue: QueueState, reading: Reading): QueueState {
  const running = [...queue.running.values()].map((job) => ({ ...job, reading }))
  return { ...queue, running: RunningJobs.of(running) }
}

export const anAttemptThatRuns = (): RunningAttempt => ({
  phase: 'generating',
  claimedAt: midnight,
  shape: usual,
})

/** Claimed at this hour; where the time went is not known, but for what is said of it. */
export function anAttempt(
  gpu: GpuId,
  hours: number,
  generationSeconds: number,
  { loading, converting = 0 }: { loading?: number; converting?: number } = {},
  shape = usual,
): PastAttempt {
  const claimedAt = midnight - 100 * hour + hours * hour
  const generatedAt = claimedAt + generationSeconds * 1000
  const endedAt = generatedAt + converting * 1000
  const began = loading === undefined ? {} : { began: { encoding: claimedAt + loading * 1000 } }
  return { gpu, shape, claimedAt, generatedAt, endedAt, ...began }
}

/** Claimed at this hour after midnight; everything else in seconds after that. */
export function aTraced(
  gpu: GpuId,
  hours: number,
  began: Partial<Record<'encoding' | 'denoising' | 'decoding' | 'saving', number>>,
  generated: number,
  ended: number,
): PastAttempt {
  const claimedAt = midnight + hours * hour
  const after = (seconds: number) => claimedAt + seconds * 1000
  const marks = Object.entries(began).map(([stage, seconds]) => [stage, after(seconds)])
  const times = { claimedAt, generatedAt: after(generated), endedAt: after(ended) }
  return { gpu, shape: usual, ...times, began: Object.fromEntries(marks) }
}

/** One after the other, the last an hour ago: how long the generation took, and the conversion. */
export const aPast = (...attempts: (readonly [GpuId, number, number?])[]): PastAttempt[] =>
  attempts.map(([gpu, generation, converting = 0], index) => ({
    ...anAttempt(gpu, 99 - (attempts.length - index) * 1e-3, generation, { converting }),
  }))

export const aFinished = (n: number, generationSeconds: number): FinishedAttempt => ({
  ...{ jobId: jobId(n), epoch: 1, attempts: 1 },
  ...anAttempt(gpu0, 99.5, generationSeconds),
})

export const anOutcome = (n: number, wished: Partial<EstimateOutcome> = {}): EstimateOutcome => ({
  ...{ jobId: jobId(n), checkpoint: '50', at: midnight, source: 'events', gpu: gpu0 },
  ...{ p10: 90, p50: 100, p90: 110, spread: 0.1, actual: 100 },
  ...wished,
})
