import type { JobId } from '../../../domain/job.ts'
import { values } from '../../ordered-map.ts'
import { holdOf } from '../nodes.ts'
import type { QueueOperation } from '../queue-ports.ts'
import type { JobChange } from '../queue-protocol.ts'
import type { QueueState } from '../queue-state.ts'

type Compared = Pick<QueueState, 'running' | 'waiting' | 'nodes'>

/** Events that say of the next jobs that they wait, or wait no longer: clients of others see it when they ask. */
const maxHeld = 100

/** What others may want to know of a commit: each job once, with the most that became of it. */
export function changesBetween(
  before: Compared,
  after: Compared,
  operations: readonly QueueOperation[],
): ReadonlyMap<JobId, JobChange> {
  const changes = new Map<JobId, JobChange>()
  for (const { jobId, reading } of after.running.changedSince(before.running)) {
    const last = before.running.get(jobId)?.reading
    if (reading && reading !== last)
      changes.set(jobId, reading.stage === last?.stage ? 'step' : 'stage')
  }
  for (const operation of operations) {
    if (!('jobId' in operation) || changes.get(operation.jobId) === 'status') continue
    changes.set(operation.jobId, operation.op === 'generated' ? 'stage' : 'status')
  }
  if (holdOf(before)?.reason === holdOf(after)?.reason) return changes
  for (const { jobId } of values(after.waiting)) {
    if (changes.size >= maxHeld) break
    changes.set(jobId, 'status')
  }
  return changes
}
