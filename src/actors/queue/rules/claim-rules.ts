/** Which waiting job gets which GPU, and when. */
import { defaultFilename } from '../../../domain/filename.ts'
import type { AttemptKey, GpuId, Timestamp } from '../../../domain/job.ts'
import { size, values } from '../../ordered-map.ts'
import { probeRank } from '../environment-state.ts'
import { isHeld, nodeNameOf, nodeOn, withEnvironmentOn, withNode } from '../nodes.ts'
import type { QueueEffect } from '../queue-effects.ts'
import { isUsable, type QueueState, type WaitingJob } from '../queue-state.ts'
import type { RunningJob } from '../running-jobs.ts'
import { startProbe } from './environment-rules.ts'
import { fastest, loadsByNode, type Offer, Offers } from './offers.ts'
import { dequeue, type QueueStep, stored, withRunning } from './queue-steps.ts'

/** Gives waiting jobs, oldest first, to free GPUs, within the limits of their nodes. */
export function assign(state: QueueState, at: Timestamp): QueueStep {
  let [now, effects] = giveTemplateTurns(state)
  if (!now.open || size(now.waiting) === 0) return [now, effects]
  const offers = new Offers(now)
  while (size(now.waiting) > 0) {
    const match = nextMatch(now, offers)
    if (!match) break
    const [next, more] = claim(now, match.job, match.gpu, at)
    offers.take(match.gpu, next)
    now = next
    effects = [...effects, ...more]
  }
  return [now, effects]
}

/** Before any job: the jobs that wait for it meanwhile start warm, as soon as they would have loaded. */
function giveTemplateTurns(state: QueueState): QueueStep {
  if (!state.open) return [state, []]
  let now = state
  const effects: QueueEffect[] = []
  for (const node of state.nodes.values()) {
    const { name, templateLoad, maxConcurrentLoads } = node
    if (!templateLoad || templateLoad.hasBegun) continue
    if ((loadsByNode(now).get(name) ?? 0) >= maxConcurrentLoads) continue
    const { build } = templateLoad
    const usual = node.gpus.map((gpu) => state.loadSeconds.get(gpu) ?? 0)
    const longest = Math.max(0, ...usual)
    const withinMs = patienceMs(longest > 0 ? longest : unknownLoadSeconds)
    now = withNode(now, { ...node, templateLoad: { build, hasBegun: true } })
    effects.push(
      { do: 'giveTemplateTurn', node: name, build },
      { do: 'expectTemplate', node: name, build, withinMs },
    )
  }
  return [now, effects]
}

export const thenAssign = ([state, effects]: QueueStep, at: Timestamp): QueueStep => {
  const [next, more] = assign(state, at)
  return [next, [...effects, ...more]]
}

/**
 * The oldest waiting job for which a GPU is free. A job that failed on a GPU waits for another one,
 * if there is another that may be given jobs at all; meanwhile those behind it may go first.
 */
function nextMatch(state: QueueState, offers: Offers): Match | undefined {
  if (offers.ofAny.length === 0) return probeOn(state, offers.ofProbes)
  for (const job of values(state.waiting)) {
    const { failedOn } = job
    const gpu =
      fastest(offers.ofAny, failedOn) ??
      (failedOn === undefined || isOtherUsable(state, failedOn) ? undefined : failedOn)
    if (gpu !== undefined) return { job, gpu }
  }
  return probeOn(state, offers.ofProbes)
}

type Match = Readonly<{ job: WaitingJob; gpu: GpuId }>

const isOtherUsable = (state: QueueState, failedOn: GpuId): boolean =>
  state.gpus.some((gpu) => gpu !== failedOn && isUsable(state, gpu) && !isHeld(nodeOn(state, gpu)))

/** One job at a time proves a node again, on another GPU than that of the last failure, if one is free. */
function probeOn(state: QueueState, offers: readonly Offer[]): Match | undefined {
  const [first] = offers
  if (!first) return undefined
  const { name, environment } = nodeOn(state, first.gpu)
  const { breaker } = environment
  let best: Readonly<{ job: WaitingJob; rank: number }> | undefined
  for (const job of values(state.waiting)) {
    const rank = probeRank(environment, job.jobId)
    if (!best || rank < best.rank) best = { job, rank }
    if (rank === 0) break
  }
  const here = offers.filter(({ gpu }) => nodeNameOf(state, gpu) === name)
  const lastFailed = breaker.phase === 'closed' ? undefined : breaker.last.gpu
  const gpu = fastest(here, lastFailed) ?? fastest(here)
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
  const probing = withEnvironmentOn(state, gpu, (environment) => startProbe(environment, attempt))
  return [
    withRunning(dequeue(probing, jobId, seq), running),
    [
      stored({ op: 'claim', jobId, epoch, attempt: attempts, gpu, filename, at }),
      { do: 'startGeneration', jobId, epoch, gpu },
      expectLoad(state, attempt, gpu),
      { do: 'logStatus', jobId, status: 'running', epoch, attempt: attempts, gpu },
    ],
  ]
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
