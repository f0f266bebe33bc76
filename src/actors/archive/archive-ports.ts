import type { Scope } from '../../domain/client.ts'
import type { Attempt, Expired, Job, JobId, JobStatus, Timestamp } from '../../domain/job.ts'
import type { CommitResult } from '../queue/queue-ports.ts'

/** Changes to the store that the archive makes. */
export type ArchiveOperation = RecordOperation | TombstoneOperation

/** Changes to the record of one job. Its status stays as it is. */
export type RecordOperation = Readonly<
  { jobId: JobId; at: Timestamp } & (
    | { op: 'forgetVideo' }
    /** Of a job that is over: its attempts stay for the statistics, and nobody sees it again. */
    | { op: 'remove' }
    /** The same, and for a while whoever asks is told since when it is gone. */
    | { op: 'expire' }
    | { op: 'pin'; pinned: boolean }
  )
>

/** Of jobs that were deleted or have expired before: nobody is told of them any more. */
export type TombstoneOperation = Readonly<{ op: 'forgetTombstones'; before: Timestamp }>

/**
 * Asynchronous, so that a store on another machine can take its place. What lies outside a scope is
 * answered for like what does not exist.
 */
export type ArchiveStore = {
  /** All or nothing, and durable when it resolves. */
  commit(operations: readonly ArchiveOperation[]): Promise<CommitResult>
  find(jobId: JobId, scope: Scope): Promise<Job | undefined>
  findMany(jobIds: readonly JobId[], scope: Scope): Promise<Job[]>
  attempts(jobId: JobId): Promise<Attempt[]>
  /** What is told of a job that has expired; by its file, of the latest of that name. */
  findExpired(
    which: Readonly<{ jobId: JobId } | { filename: string }>,
    scope: Scope,
  ): Promise<Expired | undefined>
  /** Whether somebody is still to be told of its end. */
  isAwaited(jobId: JobId): Promise<boolean>
  list(filter: JobFilter, scope: Scope): Promise<JobPage>
  /** The jobs of exactly this prompt, latest first. */
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
  /** Somebody is downloading it, or will go on to in a moment. */
  isInUse(filename: string): boolean
  /** With all that was made from it; harmless when it is gone already. */
  remove(video: Readonly<{ jobId: JobId; filename: string }>): Promise<void>
}

/** All other files of a job. */
export type JobFiles = {
  /** Removes its working files and its log: the job is deleted. */
  forget(jobId: JobId): Promise<void>
}
