/** Which jobs may be deleted. */
import { RefusalError } from '../../domain/errors.ts'
import { type FileLoss, isOpen, type Job } from '../../domain/job.ts'
import type { FileFinding } from './archive-ports.ts'

/** Why a job cannot be deleted yet. */
export const refuseRemoval = (job: Job): RefusalError | undefined =>
  isOpen(job)
    ? new RefusalError('job_stopping', 'The job is not over yet; try again in a moment.')
    : undefined

/** Unfinished and pinned jobs stay, and jobs with a pending webhook delivery. */
export const mayExpire = (job: Job, isAwaited: boolean): boolean =>
  !isOpen(job) && job.pinnedAt === undefined && !isAwaited

export const lossOf = (finding: Exclude<FileFinding, 'own'>): FileLoss =>
  finding === 'missing' ? 'missing' : 'replaced'
