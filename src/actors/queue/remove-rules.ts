/** Which jobs may be deleted, and in which order that is done. */

import { causeOf, covers } from '../../domain/client.ts'
import { jobNotFound, RefusalError } from '../../domain/errors.ts'
import type { Timestamp } from '../../domain/job.ts'
import type { QueueCommand, QueueNews, QueueState } from './queue-protocol.ts'
import { type QueueStep, stored, waitingJob } from './queue-state.ts'

/** Its files go first: a crash in between leaves a record that can be deleted again, and no stray files. */
export function remove(
  state: QueueState,
  { type: _, ...asked }: Extract<QueueCommand, { type: 'remove' }>,
): QueueStep {
  const { jobId, scope, replyTo } = asked
  const active = state.running.get(jobId) ?? waitingJob(state, jobId)
  if (!active) return [state, [{ do: 'removeJob', ...asked }]]
  const answer = covers(scope, active)
    ? new RefusalError('job_stopping', 'The job is not over yet; try again in a moment.')
    : jobNotFound(jobId)
  return [state, [{ do: 'answerRemove', to: replyTo, answer }]]
}

export function keepRemoved(
  state: QueueState,
  message: Extract<QueueNews, { type: 'jobFilesRemoved' }>,
  at: Timestamp,
): QueueStep {
  const { jobId, replyTo } = message
  return [
    state,
    [
      stored({ op: 'remove', jobId, at }),
      { do: 'logChange', jobId, change: 'deleted', ...causeOf(message) },
      { do: 'answerRemove', to: replyTo, answer: 'removed' },
    ],
  ]
}
