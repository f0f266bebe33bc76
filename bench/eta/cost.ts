/** What a poll costs while the queue is short and long, and how long others wait for a turn of the forecast. */
import {
  createEstimator,
  estimateJob,
  goOn,
  isPlaying,
  see,
} from '../../src/actors/eta/estimator.ts'
import { restoreQueue } from '../../src/actors/queue/queue-restore.ts'
import { type RunningJob, RunningJobs } from '../../src/actors/queue/running-jobs.ts'
import type { GpuId, Job, JobId, Reading } from '../../src/domain/job.ts'
import { soleNode } from '../../src/domain/node.ts'

export type Cost = Readonly<{ waiting: number; pollMicros: number; slowTurnMs: number }>

const seconds = 60
const pollsPerSecond = 500
const gpus = [0, 1, 2, 3, 4, 5, 6, 7] as GpuId[]

/** Eight GPUs tell a step each second, as many polls come; simulated time, real work. */
export function costOf(waiting: number): Cost {
  const begin = Date.UTC(2026, 0, 1)
  let estimator = createEstimator({
    kinds: new Map(gpus.map((gpu) => [gpu, undefined])),
    defaults: { usual: { size: '1280x720', frames: 121, steps: 50 }, seconds: () => 540 },
    bootedAt: begin,
  })
  let queue = restoreQueue(
    {
      ...{ node: soleNode, gpus },
      ...{ maxAttempts: 2, maxQueue: waiting, maxConcurrentLoads: 8, orphanPolicy: 'adopt' },
      ...{ quarantineAfter: 3, quarantineMs: 60_000, cancelWaitMs: 1_000, jobsPerHour: 0 },
    },
    {
      nextSeq: waiting + 9,
      waiting: Array.from({ length: waiting }, (_, index) => aJob(index + 9)),
      running: gpus.map((gpu) => running(aJob(gpu + 1), gpu, begin)),
      gpus: new Map(),
      drainedNodes: new Set(),
      lost: [],
      submissions: [],
    },
  )
  const turns: number[] = []
  let polls = 0
  const timed = (work: () => unknown) => {
    const from = performance.now()
    work()
    return performance.now() - from
  }
  for (let second = 0; second < seconds; second++) {
    const now = begin + second * 1000
    queue = {
      ...queue,
      running: RunningJobs.of([...queue.running.values()].map(stepped(second, now))),
    }
    estimator = see(estimator, queue)
    do {
      turns.push(timed(() => (estimator = goOn(estimator, { now, stopwatch }))))
    } while (isPlaying(estimator))
    for (let poll = 0; poll < pollsPerSecond; poll++) {
      const seq = 9 + Math.floor((poll / pollsPerSecond) * waiting)
      const took = timed(() => {
        ;[estimator] = estimateJob(estimator, idOf(seq), now + poll)
      })
      turns.push(took)
      polls += took
    }
  }
  const pollMicros = (polls * 1000) / (seconds * pollsPerSecond)
  const sorted = turns.toSorted((a, b) => a - b)
  return { waiting, pollMicros, slowTurnMs: sorted[Math.floor(sorted.length * 0.999)] ?? 0 }
}

const stopwatch = () => performance.now()

const idOf = (n: number) => `00000000-0000-4000-8000-${String(n).padStart(12, '0')}` as JobId

const aJob = (seq: number): Job => ({
  ...{ id: idOf(seq), seq, owner: null, submittedAt: 0, epoch: 0, attempts: 0 },
  request: { prompt: 'a fox', size: '1280x720', frames: 121, steps: 50, seed: 1 },
  state: { status: 'queued' },
})

const running = (job: Job, gpu: GpuId, claimedAt: number): Job => ({
  ...job,
  ...{ epoch: 1, attempts: 1 },
  state: {
    ...{ status: 'running', phase: 'generating', gpu, filename: 'a.mp4', claimedAt },
    cancelRequested: false,
  },
})

function stepped(second: number, now: number) {
  return (job: RunningJob): RunningJob => {
    const reading: Reading = {
      ...{ stage: 'denoising', step: Math.min(49, second), totalSteps: 50, source: 'events' },
      ...{ steppedAt: now, secondsPerStep: 1, began: { denoising: now - second * 1000 } },
    }
    return { ...job, reading }
  }
}
