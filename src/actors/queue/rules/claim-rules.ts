/** Which waiting job gets which GPU, and when. */
import { defaultFilename } from '../../../domain/filename.ts'
import type { AttemptKey, GpuId, Timestamp } from '../../../domain/job.ts'
import { values } from '../../ordered-map.ts'
import { claimsAllowed, probeRank } from '../environment-state.ts'
import type { QueueEffect } from '../queue-effects.ts'
import {
  generatingOn,
  isLoading,
  isUsable,
  type QueueState,
  type RunningJob,
  type WaitingJob,
} from '../queue-state.ts'
import { startProbe } from './environment-rules.ts'
import { dequeue, type QueueStep, stored, withRunning } from './queue-steps.ts'

/**
 * How many generations may wait for their conversion before no more are begun. As a rule one takes
 * minutes and the other seconds; where it is not so, disks would fill with what nobody can have yet.
 */
const maxUnconverted = ({ gpus }: QueueState['settings']): number => Math.max(64, 4 * gpus.length)

/**
 * Gives waiting jobs, oldest first, to free GPUs, as long as another may load its model now, and what
 * is made is also converted.
 */
export function assign(state: QueueState, at: Timestamp): QueueStep {
  let [now, effects] = giveTemplateTurn(state)
  while (
    now.open &&
    now.hasRoom &&
    loading(now) < now.settings.maxConcurrentLoads &&
    unconverted(now) < maxUnconverted(now.settings)
  ) {
    const match = nextMatch(now)
    if (!match) break
    const [next, more] = claim(now, match.job, match.gpu, at)
    now = next
    effects = [...effects, ...more]
  }
  return [now, effects]
}

/** Before any job: the jobs that wait for it meanwhile start warm, as soon as they would have loaded. */
function giveTemplateTurn(state: QueueState): QueueStep {
  const { templateLoad, loadSeconds, open, settings } = state
  if (!templateLoad || templateLoad.hasBegun) return [state, []]
  if (!open || loading(state) >= settings.maxConcurrentLoads) return [state, []]
  const { build } = templateLoad
  const known = loadSeconds.size > 0
  const withinMs = patienceMs(known ? Math.max(...loadSeconds.values()) : unknownLoadSeconds)
  return [
    { ...state, templateLoad: { build, hasBegun: true } },
    [
      { do: 'giveTemplateTurn', build },
      { do: 'expectTemplate', build, withinMs },
    ],
  ]
}

export const thenAssign = ([state, effects]: QueueStep, at: Timestamp): QueueStep => {
  const [next, more] = assign(state, at)
  return [next, [...effects, ...more]]
}

/**
 * The oldest waiting job for which a GPU is free. A job that failed on a GPU waits for another one,
 * if there is another that may be given jobs at all; meanwhile those behind it may go first.
 */
function nextMatch(state: QueueState): Match | undefined {
  const allowed = claimsAllowed(state.environment)
  if (allowed === 'none') return undefined
  const usable = state.settings.gpus.filter((gpu) => isUsable(state, gpu))
  const free = usable.filter((gpu) => !generatingOn(state, gpu))
  if (free.length === 0) return undefined
  if (allowed === 'one') return probeOn(state, free)
  for (const job of values(state.waiting)) {
    const elsewhere = usable.some((gpu) => gpu !== job.failedOn)
    const gpu = fastest(
      state,
      free.filter((candidate) => candidate !== job.failedOn || !elsewhere),
    )
    if (gpu !== undefined) return { job, gpu }
  }
  return undefined
}

type Match = Readonly<{ job: WaitingJob; gpu: GpuId }>

/** On another GPU than that of the last failure, if one is free. */
function probeOn(state: QueueState, free: readonly GpuId[]): Match | undefined {
  const { environment } = state
  const { breaker } = environment
  let best: Readonly<{ job: WaitingJob; rank: number }> | undefined
  for (const job of values(state.waiting)) {
    const rank = probeRank(environment, job.jobId)
    if (!best || rank < best.rank) best = { job, rank }
    if (rank === 0) break
  }
  const others = free.filter((gpu) => breaker.phase === 'closed' || gpu !== breaker.last.gpu)
  const gpu = fastest(state, others.length > 0 ? others : free)
  return best && gpu !== undefined ? { job: best.job, gpu } : undefined
}

/** The one that will finish first by its own history; the lowest number breaks ties. */
function fastest(state: QueueState, gpus: readonly GpuId[]): GpuId | undefined {
  const seconds = (gpu: GpuId) => state.secondsPerJob.get(gpu) ?? averageOf(state.secondsPerJob)
  return gpus.toSorted((a, b) => seconds(a) - seconds(b) || a - b)[0]
}

function claim(state: QueueState, job: WaitingJob, gpu: GpuId, at: Timestamp): QueueStep {
  const { jobId, owner, seq, submittedAt, shape } = job
  const epoch = job.epoch + 1
  const attempts = job.attempts + 1
  const filename = job.filename ?? defaultFilename(jobId, gpu, at)
  const running: RunningJob = {
    jobId,
    owner,
    seq,
    submittedAt,
    epoch,
    attempts,
    shape,
    gpu,
    filename,
    ...(job.filename && { requestedFilename: job.filename }),
    phase: 'generating',
    claimedAt: at,
    cancelRequested: false,
  }
  const attempt = { jobId, epoch }
  const environment = startProbe(state.environment, attempt)
  return [
    withRunning(dequeue({ ...state, environment }, jobId, seq), running),
    [
      stored({ op: 'claim', jobId, epoch, attempt: attempts, gpu, filename, at }),
      { do: 'startGeneration', jobId, epoch, gpu },
      expectLoad(state, attempt, gpu),
      { do: 'logStatus', jobId, status: 'running', epoch, attempt: attempts, gpu },
    ],
  ]
}

const loading = ({ running, givenUpGpus, templateLoad }: QueueState): number =>
  [...running.values()].filter(
    (job) => isLoading(job) && !job.isLoadOverdue && !givenUpGpus.has(job.gpu),
  ).length + (templateLoad?.hasBegun ? 1 : 0)

/** How many times its usual length a load may take before it no longer holds up others. */
const usualLoads = 4

/** Short loads vary by more than that: the machine may be busy for a moment. */
const minLoadMs = 15_000
/** Loads of half an hour have been reported; longer ones must not stop all other GPUs. */
const maxLoadMs = 30 * 60_000

/** Before the estimates know the GPU: four times the longest of the measured loads, 55 to 200 s. */
const unknownLoadSeconds = 200

/** The slot of a load is given back after this time at the latest; the load itself goes on. */
export function expectLoad(
  { loadSeconds }: Pick<QueueState, 'loadSeconds'>,
  { jobId, epoch }: AttemptKey,
  gpu: GpuId,
): QueueEffect {
  const withinMs = patienceMs(loadSeconds.get(gpu) ?? unknownLoadSeconds)
  return { do: 'expectLoad', jobId, epoch, withinMs }
}

/** How long a load may hold up others that usually takes so long. */
const patienceMs = (usualSeconds: number): number =>
  Math.round(Math.min(maxLoadMs, Math.max(minLoadMs, usualLoads * usualSeconds * 1000)))

const unconverted = ({ running }: QueueState): number =>
  [...running.values()].filter(({ phase }) => phase === 'converting').length

const averageOf = (seconds: ReadonlyMap<GpuId, number>): number =>
  seconds.size === 0
    ? 0
    : [...seconds.values()].reduce((sum, value) => sum + value, 0) / seconds.size
