/** Which waiting job gets which GPU, and when. */
import { defaultFilename } from '../../filename.ts'
import type { GpuId, Timestamp } from '../../job.ts'
import { first } from './ordered-map.ts'
import type { QueueEffect, QueueState, RunningJob, WaitingJob } from './queue-protocol.ts'
import { dequeue, generatingOn, type QueueStep, stored, withRunning } from './queue-state.ts'

/** Gives waiting jobs, oldest first, to free GPUs, as long as another may load its model now. */
export function assign(state: QueueState, at: Timestamp): QueueStep {
  let now = state
  const effects: QueueEffect[] = []
  while (now.open) {
    const head = first(now.waiting)?.value
    if (!head || loading(now) >= now.settings.maxConcurrentLoads) break
    const gpu = bestGpu(now, head)
    if (gpu === undefined) break
    const [next, more] = claim(now, head, gpu, at)
    now = next
    effects.push(...more)
  }
  return [now, effects]
}

export const thenAssign = ([state, effects]: QueueStep, at: Timestamp): QueueStep => {
  const [next, more] = assign(state, at)
  return [next, [...effects, ...more]]
}

/** Of the free GPUs the one that will finish first by its own history; the lowest number breaks ties. */
function bestGpu(state: QueueState, job: WaitingJob): GpuId | undefined {
  const free = state.settings.gpus.filter(
    (gpu) => state.readyGpus.has(gpu) && !generatingOn(state, gpu),
  )
  const seconds = (gpu: GpuId) => state.secondsPerJob.get(gpu) ?? averageOf(state.secondsPerJob)
  const rating = (gpu: GpuId) => [gpu === job.failedOn ? 1 : 0, seconds(gpu), gpu] as const
  return free.toSorted((a, b) => compare(rating(a), rating(b)))[0]
}

function claim(state: QueueState, job: WaitingJob, gpu: GpuId, at: Timestamp): QueueStep {
  const { jobId, seq } = job
  const epoch = job.epoch + 1
  const attempts = job.attempts + 1
  const filename = job.filename ?? defaultFilename(jobId, gpu, at)
  const running: RunningJob = {
    jobId,
    seq,
    epoch,
    attempts,
    gpu,
    filename,
    ...(job.filename && { requestedFilename: job.filename }),
    phase: 'generating',
    claimedAt: at,
    cancelRequested: false,
  }
  return [
    withRunning(dequeue(state, jobId, seq), running),
    [
      stored({ op: 'claim', jobId, epoch, attempt: attempts, gpu, filename, at }),
      { do: 'startGeneration', jobId, epoch, gpu },
      { do: 'logStatus', jobId, status: 'running', epoch, gpu },
    ],
  ]
}

const loading = ({ running }: QueueState): number => [...running.values()].filter(isLoading).length

/** Until its first reading too: the text encoder is built in silence, and that is when memory runs short. */
const isLoading = ({ phase, reading }: RunningJob): boolean =>
  phase === 'generating' && (reading === undefined || reading.stage === 'loading')

const averageOf = (seconds: ReadonlyMap<GpuId, number>): number =>
  seconds.size === 0
    ? 0
    : [...seconds.values()].reduce((sum, value) => sum + value, 0) / seconds.size

function compare(a: readonly number[], b: readonly number[]): number {
  for (const [index, value] of a.entries()) {
    const other = b[index] ?? 0
    if (value !== other) return value - other
  }
  return 0
}
