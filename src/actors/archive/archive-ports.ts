import type { Scope } from '../../domain/client.ts'
import type {
  Attempt,
  Expired,
  FileLoss,
  GpuId,
  Job,
  JobId,
  JobStatus,
  Removal,
  Timestamp,
} from '../../domain/job.ts'
import type { VideoFile } from '../../domain/video-file.ts'
import type { CommitResult } from '../queue/queue-ports.ts'

/** Changes to the store that the archive makes. */
export type ArchiveOperation = RecordOperation | TombstoneOperation

/** Changes to the record of one job. Its status stays as it is. */
export type RecordOperation = Readonly<
  { jobId: JobId; at: Timestamp } & (
    | { op: 'pin'; pinned: boolean }
    /** Precedes the deletion of the file, so that a crash in between is known to the next run. */
    | { op: 'announceRemoval'; removal: Removal }
    /** Takes the announcement back: the file is still there. */
    | { op: 'keepVideo' }
    | { op: 'forgetVideo' }
    /** The file was removed or replaced by somebody else. */
    | { op: 'loseVideo'; loss: FileLoss }
    /** A lost file is there again. Changes nothing when another job has the name by now. */
    | { op: 'findVideo' }
    /** Deletes a finished job. Its attempts stay for the statistics. */
    | { op: 'remove' }
    /** Like `remove`. The time of expiry stays readable until the tombstone is forgotten. */
    | { op: 'expire' }
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
  /** Those, and selected by id or name also jobs whose file was lost: something else may be in its place. */
  videosToDelete(selection: VideoSelection, scope: Scope): Promise<Job[]>
  /** The latest job of this filename whose file was lost. */
  findLost(filename: string, scope: Scope): Promise<Job | undefined>
  /** Removals that are announced and not completed. */
  announcedRemovals(): Promise<AnnouncedRemoval[]>
  /** Files that are there or lost, in the order of submission, from behind this number. */
  recordedFiles(afterSeq: number, limit: number): Promise<RecordedFile[]>
}

export type AnnouncedRemoval = Readonly<{ jobId: JobId; removal: Removal }>

/** As much of a record as tells whether its file looks as it should. */
export type RecordedFile = Readonly<{
  seq: number
  jobId: JobId
  isLost: boolean
}> &
  FileSize

/** `gpu`: the one that it was generated on. The file is on the same machine. */
export type FileSize = Readonly<{ gpu: GpuId; filename: string; bytes: number }>

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

/**
 * What has the name of a video.
 *
 * - `own`: the file that was published.
 * - `changed`: a file that was made for this job, with another content now.
 * - `other`: a file of another origin, or no regular file.
 * - `missing`: nothing.
 */
export type FileFinding = 'own' | 'changed' | 'other' | 'missing'

/**
 * The machine of a file did not say whether it has removed the file. It may still do so, but not after its answer to a
 * later question about the file.
 */
export class UnconfirmedRemovalError extends Error {
  override readonly name = 'UnconfirmedRemovalError'
}

/** The files of finished videos. */
export type VideoFiles = {
  /** The file is being downloaded, or was a moment ago. */
  isInUse(filename: string): boolean
  find(video: VideoFile): Promise<FileFinding>
  /**
   * Compares only kind and length with the record. One answer per file, in the same order; undefined:
   * its machine is not there.
   */
  arePresent(files: readonly FileSize[]): Promise<readonly (boolean | undefined)[]>
  /**
   * Deletes the file of a video unless it is of another origin, and its previews. Rejects with
   * `UnconfirmedRemovalError`, or with any other error if the file is still there.
   */
  remove(video: VideoFile): Promise<FileFinding>
}

/** All other files of a job. */
export type JobFiles = {
  /** Removes its working files and its log: the job is deleted. */
  forget(jobId: JobId): Promise<void>
}
