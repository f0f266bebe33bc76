/** How an attempt leaves the running jobs: its job goes back to its place, or ends. */
import { costsAttempt } from '../../../domain/failures.ts'
import type { Failure, Timestamp, Trace } from '../../../domain/job.ts'
import type { Outcome } from '../queue-ports.ts'
import type { QueueState } from '../queue-state.ts'
import type { RunningJob } from '../running-jobs.ts'
import { dropFromTickets, settleTickets } from './cancel-rules.ts'
import { thenAssign } from './claim-rules.ts'
import { forgetName } from './name-rules.ts'
import { enqueue, type QueueStep, stored, withoutProbe, withoutSuspect } from './queue-steps.ts'
import { outcomeOfCancel, withoutLost } from './unaccounted.ts'

/** Back to its old place in the queue. Only what failed by itself counts as an attempt. */
export function release(
  state: QueueState,
  job: RunningJob,
  at: Timestamp,
  failure?: Failure,
): QueueStep {
  if (job.cancelRequested) return finish(state, job, { status: 'canceled' }, at)
  return thenAssign(giveBack(state, job, at, failure), at)
}

/** As `release`, and no other job is claimed yet. */
export function giveBack(
  state: QueueState,
  job: RunningJob,
  at: Timestamp,
  failure?: Failure,
): QueueStep {
  const { jobId, owner, seq, submittedAt, epoch, shape, gpu, reading } = job
  const counts = failure !== undefined && costsAttempt(failure.code)
  const attempts = counts ? job.attempts : job.attempts - 1
  const { requestedFilename: filename } = job
  const waiting = {
    jobId,
    owner,
    seq,
    submittedAt,
    epoch,
    attempts,
    shape,
    ...(filename && { filename }),
    ...(counts && { failedOn: gpu }),
  }
  const cause = failure ? { failure } : {}
  return [
    enqueue({ ...withoutProbe(state, job), running: state.running.delete(jobId) }, waiting),
    [
      stored({ op: 'release', jobId, epoch, attempts, ...cause, ...traceOf(reading), at }),
      { do: 'logStatus', jobId, status: 'queued', epoch, attempt: job.attempts, gpu, ...cause },
    ],
  ]
}

export const finish = (
  state: QueueState,
  job: RunningJob,
  outcome: Outcome,
  at: Timestamp,
): QueueStep => thenAssign(end(state, job, outcome, at), at)

/** As `finish`, and no other job is claimed yet. */
export function end(state: QueueState, job: RunningJob, wanted: Outcome, at: Timestamp): QueueStep {
  const { jobId, epoch, attempts: attempt, gpu } = job
  const outcome = wanted.status === 'canceled' ? outcomeOfCancel(state, jobId) : wanted
  const rest = withoutLost(withoutSuspect(withoutProbe(state, job), jobId), jobId)
  const over = forgetName(
    { ...rest, running: state.running.delete(jobId) },
    { filename: job.requestedFilename, jobId },
  )
  const [answered, answers] =
    outcome.status === 'canceled' ? settleTickets(over, jobId) : dropFromTickets(over, jobId)
  const cause = outcome.status === 'error' ? { failure: outcome.failure } : {}
  return [
    answered,
    [
      stored({ op: 'finish', jobId, epoch, outcome, ...traceOf(job.reading), at }),
      { do: 'discardWork', jobId },
      ...answers,
      { do: 'logStatus', jobId, status: outcome.status, epoch, attempt, gpu, ...cause },
    ],
  ]
}

/** Trace of an attempt, taken from the last reading of its generation. */
export function traceOf(reading: RunningJob['reading']): { trace?: Trace } {
  const { stage: _, step: __, totalSteps: ___, steppedAt: ____, ...trace } = reading ?? {}
  return Object.keys(trace).length > 0 ? { trace } : {}
}
