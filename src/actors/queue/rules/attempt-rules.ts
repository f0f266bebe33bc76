/** What becomes of a job when its attempt is heard of. */
import { blamesEnvironment, isRetryable } from '../../../domain/failures.ts'
import type { AttemptKey } from '../../../domain/job.ts'
import { type Failure, type Reading, stages, type Timestamp } from '../../../domain/job.ts'
import type { GenerationResult } from '../../gpu/gpu-ports.ts'
import type { GenerationStart } from '../../gpu/gpu-protocol.ts'
import { size } from '../../ordered-map.ts'
import { nodeNameOf, nodeOn, withNode } from '../nodes.ts'
import type { QueueEffect } from '../queue-effects.ts'
import type { Outcome } from '../queue-ports.ts'
import type { QueueNews } from '../queue-protocol.ts'
import { type QueueState, waitingJob } from '../queue-state.ts'
import { isLoading, type RunningJob } from '../running-jobs.ts'
import { finish, release, traceOf } from './attempt-ends.ts'
import { assign, thenAssign } from './claim-rules.ts'
import { takeBack } from './conversion-orders.ts'
import { failedByEnvironment } from './environment-rules.ts'
import { noteFailure, noteSuccess, takeCare } from './gpu-rules.ts'
import { hasGotTo } from './proof-rules.ts'
import { type QueueStep, stored, withoutGpu, withoutProbe, withRunning } from './queue-steps.ts'

type AttemptMessage = Extract<QueueNews, AttemptKey>

/**
 * News that carries an older epoch, or of a job that is over, comes too late and is dropped here. A
 * generation that is still at work on such an attempt is stopped: nobody waits for it.
 */
export function onAttempt(state: QueueState, message: AttemptMessage, at: Timestamp): QueueStep {
  const job = state.running.get(message.jobId)
  if (!job || job.epoch !== message.epoch) return [state, stopUnknown(state, message)]
  const phase = message.type.startsWith('conver') ? 'converting' : 'generating'
  if (job.phase !== phase) return [state, []]

  switch (message.type) {
    case 'generationStarted':
      return generationStarted(state, job, message)
    case 'generationReported': {
      const { reading } = message
      if (job.reading && isBehind(reading, job.reading)) return [state, []]
      return reported(state, job, reading, at)
    }
    case 'loadOverdue':
      return loadOverdue(state, job, at)
    case 'careDue':
      return takeCare(state, job)
    // Not ready, whatever we thought: its next announcement tells when it is.
    case 'runDeclined':
      return release(withoutGpu(state, job.gpu), job, at)
    case 'generationEnded':
      return generationEnded(state, job, message.result, at)
    case 'converted':
      return job.cancelRequested ? takeBack(state, job) : succeeded(state, job, message.video, at)
    case 'conversionFailed':
      return attemptFailed(state, job, message.failure, at)
    case 'conversionAborted':
      return finish(state, job, { status: 'canceled' }, at)
    case 'conversionLost':
      return conversionLost(state, job, at)
  }
}

/** An attempt whose job waits unclaimed may be taken back: the announcement of its GPU decides. */
function stopUnknown(state: QueueState, message: AttemptMessage): QueueEffect[] {
  if (message.type !== 'generationStarted' && message.type !== 'generationReported') return []
  const { jobId, epoch, gpu } = message
  if (waitingJob(state, jobId)?.epoch === epoch) return []
  return [{ do: 'stopGeneration', jobId, epoch, gpu, reason: 'orphaned' }]
}

/** A GPU may load next when this one has loaded, or when the environment is proven. */
function reported(state: QueueState, job: RunningJob, reading: Reading, at: Timestamp): QueueStep {
  const heard = { ...job, reading }
  const step = hasGotTo(withRunning(state, heard), job, reading.stage, at)
  const hasLoaded = isLoading(job) && !isLoading(heard)
  return hasLoaded || step[0].nodes !== state.nodes ? thenAssign(step, at) : step
}

/** It no longer holds up others, as a load or as the probe of the environment. Its time limit ends it. */
function loadOverdue(state: QueueState, job: RunningJob, at: Timestamp): QueueStep {
  return assign(withRunning(withoutProbe(state, job), { ...job, isLoadOverdue: true }), at)
}

/** Also of one that was adopted: whatever should have stopped it before is repeated now. */
function generationStarted(
  state: QueueState,
  job: RunningJob,
  { startedAt, command, start }: GenerationStart,
): QueueStep {
  const { jobId, epoch, gpu } = job
  const reason = job.cancelRequested ? 'canceled' : job.orphaned ? 'orphaned' : undefined
  const stop: QueueEffect[] = reason ? [{ do: 'stopGeneration', jobId, epoch, gpu, reason }] : []
  const known = start && start !== job.start ? withRunning(state, { ...job, start }) : state
  if (job.startedAt !== undefined) return [known, stop]
  const how = { ...(command && { command }), ...(start && { start }) }
  return [
    withRunning(state, { ...job, startedAt, ...(start && { start }) }),
    [stored({ op: 'began', jobId, epoch, at: startedAt, ...how }), ...stop],
  ]
}

function generationEnded(
  state: QueueState,
  job: RunningJob,
  result: GenerationResult,
  at: Timestamp,
): QueueStep {
  if (result.how === 'unkillable') return unkillable(state, job, at)
  if (job.cancelRequested) return finish(state, job, { status: 'canceled' }, at)
  switch (result.how) {
    case 'completed':
      return generated(state, job, at)
    case 'neverBegan':
      // A start that was reported is no longer visible: its files were removed.
      return job.startedAt === undefined ? release(state, job, at) : orphanLost(state, job, at)
    case 'failed':
      return job.orphaned
        ? orphanLost(state, job, at)
        : attemptFailed(state, job, result.failure, at)
    case 'forkFailed':
      return job.orphaned ? orphanLost(state, job, at) : release(state, job, at)
    case 'lost':
      return orphanLost(state, job, at)
  }
}

/** No `canceled` either, for that would say that nothing of it is left. The GPU reports itself. */
function unkillable(state: QueueState, job: RunningJob, at: Timestamp): QueueStep {
  const failure: Failure = {
    code: 'unkillable',
    message:
      'A process of the generation survived SIGKILL, as happens when the driver of a sick GPU hangs. ' +
      'The GPU gets no more jobs until an operator resumes it; the machine may need a restart.',
  }
  return finish(state, job, { status: 'error', failure }, at)
}

function orphanLost(state: QueueState, job: RunningJob, at: Timestamp): QueueStep {
  if (job.orphaned === 'giveBack') return release(state, job, at)
  const failure: Failure = {
    code: 'lost',
    message: job.orphaned
      ? 'What watched over the generation died, and ORPHAN_POLICY had it stopped.'
      : 'The generation died together with what watched over it, so its end is unknown.',
  }
  return (job.orphaned ?? state.settings.orphanPolicy) === 'fail'
    ? finish(state, job, { status: 'error', failure }, at)
    : attemptFailed(state, job, failure, at)
}

/** The GPU is free from here on; the file is made ready elsewhere. */
function generated(state: QueueState, job: RunningJob, at: Timestamp): QueueStep {
  const { jobId, epoch, filename } = job
  const { reading, isRestored: _, ...rest } = job
  const trace = traceOf(reading)
  const [proven, blames] = hasGotTo(state, job, 'converting', at)
  const [noted, effects] = noteSuccess(proven, job.gpu)
  return thenAssign(
    [
      withRunning(noted, { ...rest, ...trace, phase: 'converting', generatedAt: at }),
      [
        ...blames,
        ...effects,
        stored({ op: 'generated', jobId, epoch, ...trace, at }),
        { do: 'convert', node: nodeNameOf(state, job.gpu), jobId, epoch, filename },
      ],
    ],
    at,
  )
}

function attemptFailed(
  state: QueueState,
  job: RunningJob,
  failure: Failure,
  at: Timestamp,
): QueueStep {
  if (job.cancelRequested) return finish(state, job, { status: 'canceled' }, at)
  if (blamesEnvironment(failure.code)) return environmentFailed(state, job, failure, at)
  const again = isRetryable(failure.code) && job.attempts < state.settings.maxAttempts
  const [noted, effects] = noteFailure(state, job, failure, at)
  const [next, more] = again
    ? release(noted, job, at, failure)
    : finish(noted, job, { status: 'error', failure }, at)
  return [next, [...effects, ...more]]
}

/**
 * The files were there when the generation ended. If that was in a previous run, a backup may have been
 * restored, and the attempt does not count. Otherwise it does: this could go on for ever.
 */
function conversionLost(state: QueueState, job: RunningJob, at: Timestamp): QueueStep {
  if (job.isRestored) return release(state, job, at)
  const failure: Failure = {
    code: 'lost',
    message: 'The files of the generation were removed before its video was made.',
  }
  return attemptFailed(state, job, failure, at)
}

/** The attempt does not count, and the queue waits; unless it is the job's own fault after all. */
function environmentFailed(
  state: QueueState,
  job: RunningJob,
  failure: Failure,
  at: Timestamp,
): QueueStep {
  const { jobId, epoch, gpu, phase, reading } = job
  const stage = phase === 'converting' ? phase : (reading?.stage ?? 'loading')
  const isAlone = size(state.waiting) === 0
  const attempt = { jobId, epoch, gpu, stage, failure }
  const node = nodeOn(state, gpu)
  const verdict = failedByEnvironment(node.environment, attempt, { isAlone }, at)
  const { environment, fate, pause } = verdict
  const { name } = node
  const effects: QueueEffect[] = [{ do: 'checkEnvironment', node: name }]
  if (pause) {
    effects.push({ do: 'expectPause', node: name, pause: pause.number, withinMs: pause.ms })
  }
  const noted = withNode(state, { ...node, environment })
  const [next, more] =
    fate === 'giveUp'
      ? finish(noted, job, { status: 'error', failure }, at)
      : release(noted, job, at, failure)
  return [next, [...effects, ...more]]
}

function succeeded(
  state: QueueState,
  job: RunningJob,
  video: Extract<Outcome, { status: 'success' }>['video'],
  at: Timestamp,
): QueueStep {
  const [proven, blames] = hasGotTo(state, job, 'end', at)
  const [next, effects] = finish(proven, job, { status: 'success', video }, at)
  const { jobId, epoch, attempts, gpu, shape, claimedAt, generatedAt = at, trace, start } = job
  const began = trace?.began ? { began: trace.began } : {}
  const times = { claimedAt, generatedAt, endedAt: at, ...began }
  const attempt = { jobId, epoch, attempts, gpu, shape, ...times, ...(start && { start }) }
  return [next, [...blames, ...effects, { do: 'tellEta', attempt }]]
}

/** Readings only go forward within an attempt, whatever order they come in. */
export function isBehind(a: Reading, b: Reading): boolean {
  const lag = stages.indexOf(a.stage) - stages.indexOf(b.stage)
  return lag < 0 || (lag === 0 && (a.step ?? 0) < (b.step ?? 0))
}
