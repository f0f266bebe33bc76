/** Which waiting job gets which GPU, and when. */
import { defaultFilename } from '../../../domain/filename.ts'
import type { AttemptKey, GpuId, Timestamp } from '../../../domain/job.ts'
import { size, values } from '../../ordered-map.ts'
import { claimsAllowed, probeRank } from '../environment-state.ts'
import type { QueueEffect } from '../queue-effects.ts'
import { isUsable, type QueueState, type WaitingJob } from '../queue-state.ts'
import type { RunningJob } from '../running-jobs.ts'
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
  if (!mayClaim(now)) return [now, effects]
  const free = new Offers(now)
  while (mayClaim(now)) {
    const match = nextMatch(now, free)
    if (!match) break
    const [next, more] = claim(now, match.job, match.gpu, at)
    free.take(match.gpu)
    now = next
    effects = [...effects, ...more]
  }
  return [now, effects]
}

const mayClaim = (state: QueueState): boolean =>
  state.open &&
  state.hasRoom &&
  size(state.waiting) > 0 &&
  loading(state) < state.settings.maxConcurrentLoads &&
  state.running.converting < maxUnconverted(state.settings)

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
function nextMatch(state: QueueState, free: Offers): Match | undefined {
  const allowed = claimsAllowed(state.environment)
  if (allowed === 'none' || free.isEmpty) return undefined
  if (allowed === 'one') return probeOn(state, free)
  for (const job of values(state.waiting)) {
    const { failedOn } = job
    const gpu =
      free.fastest(failedOn) ??
      (failedOn === undefined || isOtherUsable(state, failedOn) ? undefined : failedOn)
    if (gpu !== undefined) return { job, gpu }
  }
  return undefined
}

const isOtherUsable = (state: QueueState, failedOn: GpuId): boolean =>
  state.settings.gpus.some((gpu) => gpu !== failedOn && isUsable(state, gpu))

/** The free GPUs that may be given a job, during one run of claims. */
class Offers {
  #offers: readonly Readonly<{ gpu: GpuId; seconds: number }>[]

  constructor(state: QueueState) {
    const { running, secondsPerJob } = state
    const average = averageOf(secondsPerJob)
    const offers = []
    for (const gpu of running.idleGpus()) {
      if (isUsable(state, gpu)) offers.push({ gpu, seconds: secondsPerJob.get(gpu) ?? average })
    }
    this.#offers = offers
  }

  get isEmpty(): boolean {
    return this.#offers.length === 0
  }

  /** The one that will finish first by its own history; the lowest number breaks ties. */
  fastest(except?: GpuId): GpuId | undefined {
    let best: Readonly<{ gpu: GpuId; seconds: number }> | undefined
    for (const offer of this.#offers) {
      if (offer.gpu !== except && (!best || offer.seconds < best.seconds)) best = offer
    }
    return best?.gpu
  }

  take(taken: GpuId): void {
    this.#offers = this.#offers.filter(({ gpu }) => gpu !== taken)
  }
}

type Match = Readonly<{ job: WaitingJob; gpu: GpuId }>

/** On another GPU than that of the last failure, if one is free. */
function probeOn(state: QueueState, free: Offers): Match | undefined {
  const { environment } = state
  const { breaker } = environment
  let best: Readonly<{ job: WaitingJob; rank: number }> | undefined
  for (const job of values(state.waiting)) {
    const rank = probeRank(environment, job.jobId)
    if (!best || rank < best.rank) best = { job, rank }
    if (rank === 0) break
  }
  const lastFailed = breaker.phase === 'closed' ? undefined : breaker.last.gpu
  const gpu = free.fastest(lastFailed) ?? free.fastest()
  return best && gpu !== undefined ? { job: best.job, gpu } : undefined
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

function loading({ running, givenUpGpus, templateLoad }: QueueState): number {
  let loads = templateLoad?.hasBegun ? 1 : 0
  for (const gpu of running.loads()) if (!givenUpGpus.has(gpu)) loads += 1
  return loads
}

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

const averageOf = (seconds: ReadonlyMap<GpuId, number>): number =>
  seconds.size === 0
    ? 0
    : [...seconds.values()].reduce((sum, value) => sum + value, 0) / seconds.size
