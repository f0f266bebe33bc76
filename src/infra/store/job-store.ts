import type { ArchiveStore } from '../../actors/archive/archive-ports.ts'
import type { CommitResult, QueueStore } from '../../actors/queue/queue-ports.ts'
import type { JobId } from '../../domain/job.ts'
import type { StoreOperation } from './store-operations.ts'

/** The ports of the queue and of the archive. They share one cache, so no commit goes unnoticed. */
export type JobStore = Omit<QueueStore & ArchiveStore, 'commit'> & {
  commit(operations: readonly StoreOperation[]): Promise<CommitResult>
}

/** Jobs whose records the operations may change. */
export const jobsIn = (operations: readonly StoreOperation[]): JobId[] =>
  operations.flatMap((one) => ('jobId' in one ? [one.jobId] : []))
