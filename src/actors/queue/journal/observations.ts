import type { Observation } from '../../../domain/observation.ts'
import { stageSpans } from '../../../domain/stage-spans.ts'
import type { QueueEffect } from '../queue-effects.ts'
import type { QueueOperation } from '../queue-ports.ts'
import { healthOf, type QueueState, waitingJob } from '../queue-state.ts'

/** What one step of the queue looks like to those who look on, once it is durable. */
export const observationsOf = (
  before: QueueState,
  after: QueueState,
  effects: readonly QueueEffect[],
): Observation[] =>
  effects.flatMap((effect): Observation[] => {
    switch (effect.do) {
      case 'store':
        return ofOperation(before, after, effect.operation)
      case 'adoptGeneration': {
        // One that is to be stopped is taken up for no other end.
        const { jobId, gpu } = effect
        return after.running.get(jobId)?.orphaned ? [] : [{ saw: 'generationAdopted', gpu }]
      }
      default:
        return []
    }
  })

function ofOperation(
  before: QueueState,
  after: QueueState,
  operation: QueueOperation,
): Observation[] {
  switch (operation.op) {
    case 'submit':
      return [{ saw: 'jobSubmitted' }]
    case 'claim': {
      const { jobId, epoch, at } = operation
      const job = after.running.get(jobId)
      return job && epoch === 1 ? [{ saw: 'jobClaimed', waitedMs: at - job.submittedAt }] : []
    }
    case 'release': {
      const { failure } = operation
      return [{ saw: 'jobRequeued', ...(failure && { code: failure.code }) }]
    }
    case 'requestCancel': {
      const { jobId, at } = operation
      return [{ saw: 'cancelRequested', jobId, at }]
    }
    case 'finish':
      return ofEnd(before, operation)
    case 'setGpuHealth': {
      const { gpu, health } = operation
      const { quarantine } = health
      const isNew = quarantine && quarantine.since !== healthOf(before, gpu).quarantine?.since
      return isNew ? [{ saw: 'gpuQuarantined', gpu, reason: quarantine.reason }] : []
    }
    default:
      return []
  }
}

function ofEnd(
  before: QueueState,
  { jobId, outcome, at }: Extract<QueueOperation, { op: 'finish' }>,
): Observation[] {
  const job = before.running.get(jobId) ?? waitingJob(before, jobId)
  if (!job) return []
  const { submittedAt } = job
  const { status } = outcome
  const end = status === 'error' ? { status, code: outcome.failure.code } : { status }
  const ended: Observation = { saw: 'jobEnded', jobId, end, submittedAt, at }
  return status === 'success' && 'claimedAt' in job ? [ended, ...stagesOf(job, at)] : [ended]
}

/** Only of an attempt that was followed all the way: of others nobody knows where the time went. */
function stagesOf(
  { trace, claimedAt, generatedAt }: Parameters<typeof stageSpans>[0],
  endedAt: number,
): Observation[] {
  if (!trace?.began) return []
  return stageSpans({ trace, claimedAt, generatedAt, endedAt }).map(
    ({ stage, at, until = endedAt }) => ({
      saw: 'stagePassed',
      stage,
      tookMs: Math.max(0, until - at),
    }),
  )
}
