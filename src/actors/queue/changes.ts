import type { JobId } from '../../domain/job.ts'
import type { QueueOperation } from './queue-ports.ts'
import type { JobChange } from './queue-protocol.ts'
import type { QueueState } from './queue-state.ts'

/** What others may want to know of a commit: each job once, with the most that became of it. */
export function changesBetween(
  before: Pick<QueueState, 'running'>,
  after: Pick<QueueState, 'running'>,
  operations: readonly QueueOperation[],
): ReadonlyMap<JobId, JobChange> {
  const changes = new Map<JobId, JobChange>()
  for (const { jobId, reading } of after.running.values()) {
    const last = before.running.get(jobId)?.reading
    if (reading && reading !== last)
      changes.set(jobId, reading.stage === last?.stage ? 'step' : 'stage')
  }
  for (const operation of operations) {
    if (!('jobId' in operation) || changes.get(operation.jobId) === 'status') continue
    changes.set(operation.jobId, operation.op === 'generated' ? 'stage' : 'status')
  }
  return changes
}
