/** Which GPUs are there, and which of them may be given work. */
import { causeOf } from '../../../domain/client.ts'
import { RefusalError } from '../../../domain/errors.ts'
import { blamesGpu } from '../../../domain/failures.ts'
import type {
  Failure,
  FailureCode,
  GpuId,
  JobId,
  Quarantine,
  Timestamp,
} from '../../../domain/job.ts'
import { hourMs } from '../../../domain/time.ts'
import { type ActorRef, answer } from '../../actor.ts'
import { nodeNameOf, nodeOn } from '../nodes.ts'
import type { QueueEffect } from '../queue-effects.ts'
import type { GpuUse, QueueCommand, QueueNews } from '../queue-protocol.ts'
import { gpuUse, healthOf, isUnkillable, type QueueState } from '../queue-state.ts'
import type { RunningJob } from '../running-jobs.ts'
import { assign, expectLoad, thenAssign } from './claim-rules.ts'
import { endNodeDrain } from './drain-rules.ts'
import { reclaim } from './lost-node-rules.ts'
import { type QueueStep, withHealth, without, withoutGpu, withRunning } from './queue-steps.ts'
import { accountFor } from './unaccounted.ts'

export function welcomeGpu(
  state: QueueState,
  { gpu, incarnation, holding }: Extract<QueueNews, { type: 'gpuReady' }>,
  at: Timestamp,
): QueueStep {
  // It is asked again when its node returns.
  if (nodeOn(state, gpu).presence === 'lost') return [state, []]
  // A process that survives SIGKILL is left there until an operator says otherwise.
  const sound = isUnkillable(state, gpu) ? [] : [gpu]
  const [known, accounts] = accountFor(state, sound, at, holding)
  if (state.readyGpus.get(gpu) === incarnation) return [known, accounts]
  const [next, effects] = welcome(known, { gpu, incarnation, ...(holding && { holding }) }, at)
  return [next, [...accounts, ...effects]]
}

function welcome(
  state: QueueState,
  { gpu, incarnation, holding }: Omit<Extract<QueueNews, { type: 'gpuReady' }>, 'type'>,
  at: Timestamp,
): QueueStep {
  const own = state.running.on(gpu)
  const isOwn = own && holding?.jobId === own.jobId && holding.epoch === own.epoch
  if (holding && !isOwn) {
    const reclaimed = own ? undefined : reclaim(state, gpu, holding, at)
    // It works on what it should not: it is ready only when it has announced itself anew without it.
    if (!reclaimed) {
      return [state, [{ do: 'stopGeneration', ...holding, gpu, reason: 'orphaned' }]]
    }
    const [back, effects] = reclaimed
    const [next, more] = welcome(back, { gpu, incarnation, holding }, at)
    return [next, [...effects, ...more]]
  }
  const ready = {
    ...state,
    readyGpus: new Map([...state.readyGpus, [gpu, incarnation]]),
    givenUpGpus: without(state.givenUpGpus, gpu),
  }
  if (!own) return thenAssign(resumeQuarantine(ready, gpu, at), at)

  if (isOwn) return [ready, [expectLoad(state, own, gpu)]]
  const { isInCare: _, ...adopted } = adoptedBy(state, own)
  const { jobId, epoch } = own
  return [
    withRunning(ready, adopted),
    [{ do: 'adoptGeneration', jobId, epoch, gpu }, expectLoad(state, { jobId, epoch }, gpu)],
  ]
}

export function loseGpu(
  state: QueueState,
  { gpu, givenUp }: Extract<QueueNews, { type: 'gpuGone' }>,
  at: Timestamp,
): QueueStep {
  const gone = withoutGpu(state, gpu)
  const care = expectCare(gone.running.on(gpu), givenUp ? givenUpCareMs : absentCareMs)
  if (!givenUp) return [gone, care]
  const next = { ...gone, givenUpGpus: new Set([...gone.givenUpGpus, gpu]) }
  const [assigned, effects] = assign(next, at)
  return [assigned, [...care, ...effects]]
}

/** No restart follows by itself, so there is little to wait for. */
const givenUpCareMs = 5_000

/** Most actors are back by then; if not, the generation is handed over when they are. */
export const absentCareMs = 30_000

const expectCare = (job: RunningJob | undefined, withinMs: number): QueueEffect[] =>
  job ? [{ do: 'expectCare', jobId: job.jobId, epoch: job.epoch, withinMs }] : []

/** Somebody watches each generation, so that its job comes to an end whatever became of its GPU's actor. */
export function takeCare(state: QueueState, job: RunningJob): QueueStep {
  const { jobId, epoch, gpu } = job
  if (state.readyGpus.has(gpu) || job.isInCare) return [state, []]
  // There is nobody to watch it. It is adopted when its node returns.
  if (nodeOn(state, gpu).presence !== 'present') return [state, []]
  return [
    withRunning(state, { ...adoptedBy(state, job), isInCare: true }),
    [{ do: 'careFor', jobId, epoch, gpu }],
  ]
}

/** A new incarnation of the caretaker knows of nothing. */
export function resumeCare(state: QueueState): QueueStep {
  const inCare = [...state.running.values()].filter(
    ({ phase, isInCare }) => phase === 'generating' && isInCare,
  )
  return [state, inCare.map(({ jobId, epoch, gpu }) => ({ do: 'careFor', jobId, epoch, gpu }))]
}

/** A generation that a former actor began, as ORPHAN_POLICY has it. */
const adoptedBy = ({ settings: { orphanPolicy } }: QueueState, job: RunningJob): RunningJob =>
  job.orphaned || orphanPolicy === 'adopt' ? job : { ...job, orphaned: orphanPolicy }

/** An operator's word: it takes nothing new, or it is as good as new. */
export function drainOrResume(
  state: QueueState,
  message: Extract<QueueCommand, { type: 'drainGpu' | 'resumeGpu' }>,
  at: Timestamp,
): QueueStep {
  const { type, gpu, replyTo } = message
  if (!isKnown(state, gpu)) return [state, [unknownGpu(gpu, replyTo)]]
  const health =
    type === 'drainGpu'
      ? { ...healthOf(state, gpu), drained: true }
      : { drained: false, failures: [] }
  const [begun, ended]: QueueStep =
    type === 'resumeGpu' ? endNodeDrain(state, nodeNameOf(state, gpu)) : [state, []]
  const [changed, effects] = withHealth(begun, gpu, health, causeOf(message))
  const [next, accounts] = accountForResumed(changed, type === 'resumeGpu' ? [gpu] : [], at)
  const answered = answer(replyTo, gpuUse(next, gpu))
  return thenAssign([next, [...ended, ...effects, ...accounts, answered]], at)
}

/** The operator's word that no process is left on these GPUs; those that are away announce it themselves. */
export const accountForResumed = (
  state: QueueState,
  gpus: readonly GpuId[],
  at: Timestamp,
): QueueStep =>
  accountFor(
    state,
    gpus.filter((gpu) => state.readyGpus.has(gpu)),
    at,
  )

/** The job of a GPU is not to be adopted by the next incarnation of its actor. */
export function disown(
  state: QueueState,
  { gpu, fate, replyTo }: Extract<QueueCommand, { type: 'disown' }>,
): QueueStep {
  if (!isKnown(state, gpu)) return [state, [unknownGpu(gpu, replyTo)]]
  const own = state.running.on(gpu)
  const next = own ? withRunning(state, { ...own, orphaned: fate }) : state
  return [next, [answer(replyTo, gpuUse(next, gpu))]]
}

/** One job after the other failing here speaks against the GPU, not against the jobs. */
export function noteFailure(
  state: QueueState,
  { gpu, jobId }: RunningJob,
  { code }: Failure,
  at: Timestamp,
): QueueStep {
  return blamesGpu(code) ? blameGpu(state, { gpu, jobId, code }, at) : [state, []]
}

export function blameGpu(
  state: QueueState,
  { gpu, jobId, code }: Readonly<{ gpu: GpuId; jobId: JobId; code: FailureCode }>,
  at: Timestamp,
): QueueStep {
  const health = healthOf(state, gpu)
  const others = health.failures.filter((failure) => failure.jobId !== jobId)
  const failures = [...others, { jobId, code, at }].slice(-state.settings.quarantineAfter)
  const isSick = failures.length >= state.settings.quarantineAfter || health.quarantine?.probing
  if (!isSick) return withHealth(state, gpu, { ...health, failures })
  const strikes = (health.quarantine?.strikes ?? 0) + 1
  const until = at + quarantineMs(state, strikes)
  const quarantine: Quarantine = { reason: 'failures', since: at, until, strikes, probing: false }
  const [next, effects] = withHealth(state, gpu, { ...health, failures, quarantine })
  return thenExpectProbe([next, effects], gpu, quarantine, at)
}

/** A generation that ends well proves a GPU. */
export function noteSuccess(state: QueueState, gpu: GpuId): QueueStep {
  const { drained, failures, quarantine } = healthOf(state, gpu)
  if (failures.length === 0 && !quarantine) return [state, []]
  return withHealth(state, gpu, { drained, failures: [] })
}

/** Until an operator says otherwise: a second process beside the one that will not go may harm both. */
export function seeProcessesLeft(
  state: QueueState,
  { gpu }: Extract<QueueNews, { type: 'processesLeft' }>,
  at: Timestamp,
): QueueStep {
  if (!isKnown(state, gpu) || isUnkillable(state, gpu)) return [state, []]
  const health = healthOf(state, gpu)
  const strikes = (health.quarantine?.strikes ?? 0) + 1
  return withHealth(state, gpu, {
    ...health,
    quarantine: { reason: 'unkillable', since: at, strikes, probing: false },
  })
}

export function startProbe(
  state: QueueState,
  { gpu, since }: Extract<QueueNews, { type: 'probeDue' }>,
  at: Timestamp,
): QueueStep {
  const health = healthOf(state, gpu)
  const { quarantine } = health
  if (quarantine?.since !== since || quarantine.probing) return [state, []]
  const probing = { ...health, quarantine: { ...quarantine, probing: true } }
  return thenAssign(withHealth(state, gpu, probing), at)
}

const maxQuarantineMs = hourMs

const quarantineMs = ({ settings }: QueueState, strikes: number): number =>
  Math.min(maxQuarantineMs, settings.quarantineMs * 2 ** (strikes - 1))

/**
 * After a start of the queue. Whatever a clock that was set since says of its end, a quarantine lasts
 * no longer than when it began. While the queue runs, its timer goes on and no clock is asked.
 */
function resumeQuarantine(state: QueueState, gpu: GpuId, at: Timestamp): QueueStep {
  const health = healthOf(state, gpu)
  const { quarantine } = health
  if (!quarantine || state.expectedProbes.get(gpu) === quarantine.since) return [state, []]
  const { until, strikes } = quarantine
  const latest = at + quarantineMs(state, strikes)
  if (until === undefined || until <= latest)
    return thenExpectProbe([state, []], gpu, quarantine, at)
  const shortened = { ...quarantine, until: latest }
  const step = withHealth(state, gpu, { ...health, quarantine: shortened })
  return thenExpectProbe(step, gpu, shortened, at)
}

function thenExpectProbe(
  [state, effects]: QueueStep,
  gpu: GpuId,
  { since, until, probing }: Quarantine,
  at: Timestamp,
): QueueStep {
  if (until === undefined || probing) return [state, effects]
  const expectedProbes = new Map([...state.expectedProbes, [gpu, since]])
  const withinMs = Math.max(0, until - at)
  return [{ ...state, expectedProbes }, [...effects, { do: 'expectProbe', gpu, since, withinMs }]]
}

const isKnown = (state: QueueState, gpu: GpuId): boolean =>
  state.nodeOf.has(gpu) || state.running.on(gpu) !== undefined

const unknownGpu = (gpu: GpuId, to: ActorRef<GpuUse | RefusalError>): QueueEffect =>
  answer(
    to,
    new RefusalError('gpu_not_found', `This service has no GPU ${gpu}; GET /gpus lists them.`),
  )
