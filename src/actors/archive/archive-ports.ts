import type { Scope } from '../../domain/client.ts'
import type { Attempt, Expired, Job, JobId, JobStatus, Timestamp } from '../../domain/job.ts'
import type { CommitResult } from '../queue/queue-ports.ts'

/** Changes to the store that the archive makes. */
export type ArchiveOperation = RecordOperation | TombstoneOperation

/** Changes to the record of one job. Its status stays as it is. */
export type RecordOperation = Readonly<
  { jobId: JobId; at: Timestamp } & (
    | { op: 'forgetVideo' }
    /** Deletes a finished job. Its attempts stay for the statistics. */
    | { op: 'remove' }
    /** Like `remove`. The time of expiry stays readable until the tombstone is forgotten. */
    | { op: 'expire' }
    | { op: 'pin'; pinned: boolean }
  )
>

/** Deletes the remains of jobs that were deleted or expired before this time. */
export type TombstoneOperation = Readonly<{ op: 'forgetTombstones'; before: Timestamp }>

/**
 * Asynchronous, so that a store on another machine can take its place. A job outside the scope is
 * treated like a job that does not exist.
 */
export type ArchiveStore = {
  /** All or nothing, and durable when it resolves. */
  commit(operations: readonly ArchiveOperation[]): Promise<CommitResult>
  find(jobId: JobId, scope: Scope): Promise<Job | undefined>
  findMany(jobIds: readonly JobId[], scope: Scope): Promise<Job[]>
  attempts(jobId: JobId): Promise<Attempt[]>
  /** The expiry of a job; by filename, of the latest job with this file. */
  findExpired(
    which: Readonly<{ jobId: JobId } | { filename: string }>,
    scope: Scope,
  ): Promise<Expired | undefined>
  /** Whether a delivery to a webhook is still pending. */
  isAwaited(jobId: JobId): Promise<boolean>
  list(filter: JobFilter, scope: Scope): Promise<JobPage>
  /** Jobs with exactly this prompt, latest first. */
  lookup(prompt: string, limit: number, scope: Scope): Promise<Job[]>
  /** Finished jobs whose files are there. */
  videos(selection: VideoSelection, scope: Scope): Promise<Job[]>
}

export type JobFilter = Readonly<{
  status?: readonly JobStatus[]
  order: 'asc' | 'desc'
  limit: number
  /** Begins behind this job. */
  after?: JobId
  prompt?: string
  /** Stands in the prompt, in upper or lower case. */
  promptContains?: string
  submittedAfter?: Timestamp
  submittedBefore?: Timestamp
  /** Only jobs whose file is there. */
  withVideo?: boolean
  pinned?: boolean
}>

export type JobPage = Readonly<{ jobs: readonly Job[]; hasMore: boolean }>

export type VideoSelection = Readonly<
  { ids: readonly JobId[] } | { filenames: readonly string[] } | { status: readonly JobStatus[] }
>

/** The files of finished videos. */
export type VideoFiles = {
  /** The file is being downloaded, or was a moment ago. */
  isInUse(filename: string): boolean
  /** Deletes a video and its previews. Does nothing when they are deleted already. */
  remove(video: Readonly<{ jobId: JobId; filename: string }>): Promise<void>
}

/** All other files of a job. */
export type JobFiles = {
  /** Removes its working files and its log: the job is deleted. */
  forget(jobId: JobId): Promise<void>
}
