import type { Caused, Scoped } from '../../domain/client.ts'
import type { RefusalError } from '../../domain/errors.ts'
import type {
  Attempt,
  Expired,
  FileLoss,
  Job,
  JobId,
  Removal,
  Timestamp,
} from '../../domain/job.ts'
import type { Asks } from '../actor.ts'
import type { CommitResult } from '../queue/queue-ports.ts'
import type { JobView } from '../queue/queue-protocol.ts'
import type { QueueSnapshot } from '../queue/queue-state.ts'
import type { AnnouncedRemoval, JobFilter, VideoSelection } from './archive-ports.ts'

/** Orders, in the imperative: the archive may still refuse them. */
export type ArchiveCommand = Readonly<
  | ({ type: 'deleteVideos'; selection: VideoSelection } & Scoped & Caused & Asks<DeletionAnswer>)
  /** Deletes the record and all files of a job that has ended. */
  | ({ type: 'remove'; jobId: JobId } & Scoped & Caused & Asks<RemoveAnswer>)
  /** Deletes finished jobs that nobody needs; the answer names those that were deleted. */
  | ({ type: 'expire'; jobIds: readonly JobId[] } & Asks<ExpireAnswer>)
  /** Whether a job is kept, however old it gets. */
  | ({ type: 'pin'; jobId: JobId; pinned: boolean } & Scoped & Caused & Asks<PinAnswer>)
  /** Deletes the remains of jobs that were deleted or expired before this time. */
  | { type: 'forgetTombstones'; before: Timestamp }
  /** Compares files with their records. The records then say what is so. */
  | { type: 'compareFiles'; jobIds: readonly JobId[] }
>

/** Questions: answered from the record and the queue's last snapshot, which they never change. */
export type ArchiveQuestion = Readonly<
  | ({ type: 'find'; jobId: JobId } & Scoped & Asks<JobView | Expired | undefined>)
  | ({ type: 'findMany'; jobIds: readonly JobId[] } & Scoped & Asks<readonly JobView[]>)
  | ({ type: 'describe'; jobId: JobId } & Scoped & Asks<JobDetail | Expired | undefined>)
  | ({ type: 'list'; filter: JobFilter } & Scoped & Asks<JobViewPage>)
  | ({ type: 'lookup'; prompt: string; limit: number } & Scoped & Asks<readonly JobView[]>)
  /** A job whose file was lost is found as well. */
  | ({ type: 'findVideo'; filename: string } & Scoped & Asks<Job | Expired | undefined>)
>

/** The queue has committed this state. */
export type QueueChanged = Readonly<{ type: 'queueChanged'; queue: QueueSnapshot }>

/** A machine is there again: removals that were announced on it are completed, and all files are looked at. */
type LookAtFiles = Readonly<{ type: 'lookAtFiles' }>

export type ArchiveMessage = ArchiveCommand | ArchiveQuestion | QueueChanged | LookAtFiles

/** Results of the shell's reads, writes and work on files. */
export type ArchiveNews = Readonly<
  | { type: 'videosSelected'; command: DeleteVideos; jobIds: readonly JobId[] }
  /** One outcome per task, in the same order. */
  | { type: 'worked'; outcomes: readonly TaskOutcome[] }
  | { type: 'written'; result: CommitResult }
  | { type: 'retryDue' }
  /** Removals without a confirmation may be completed by now. */
  | { type: 'completionDue' }
  | ({ type: 'selectionFailed'; error: unknown } & Asks<DeletionAnswer>)
  /** What a previous run or incarnation was about to delete. */
  | { type: 'removalsRead'; removals: readonly AnnouncedRemoval[] }
  /** `next`: where the next page of records begins. */
  | { type: 'surveyed'; suspects: readonly JobId[]; next?: number }
  | { type: 'surveyFailed'; error: unknown }
  | { type: 'storeFailed'; error: unknown }
>

/** All that the archive's own mailbox takes; others know it as a reference for `ArchiveMessage`. */
export type ArchiveMail = ArchiveMessage | ArchiveNews

export type DeleteVideos = Extract<ArchiveCommand, { type: 'deleteVideos' }>

/** A command of a client or another actor, or the archive's own to complete what was announced. */
export type ArchiveOrder =
  | ArchiveCommand
  | Readonly<{ type: 'completeRemovals'; removals: readonly AnnouncedRemoval[] }>

/** One job and the work on it, before its record is changed. */
export type Task = Readonly<
  | ({ do: 'pin'; jobId: JobId; pinned: boolean } & Scoped)
  | ({ do: 'remove'; jobId: JobId } & Scoped)
  | { do: 'deleteVideo' | 'expire' | 'compare'; jobId: JobId }
  | { do: 'completeRemoval'; jobId: JobId; removal: Removal }
>

export type TaskOutcome = Readonly<
  /** The record may be changed: its files are deleted, or none had to be. */
  | { how: 'done' }
  | { how: 'videoDeleted'; filename: string }
  /** The job has no file any more, and nothing was deleted. */
  | { how: 'videoLost'; filename: string; loss: FileLoss }
  | { how: 'videoFound' }
  /** The file stays although its removal may be announced. */
  | { how: 'kept' }
  /** The job, or its file, stays, or was deleted before. */
  | { how: 'skipped' }
  | { how: 'refused'; refusal: RefusalError }
  /**
   * `filename`: of a video whose file could not be deleted. Its removal may be announced.
   * `isVideoDeleted`: the file was deleted, but not the other files of the job.
   */
  | { how: 'failed'; error: unknown; filename?: string; isVideoDeleted?: boolean }
  /** Nobody knows yet whether the file is deleted. Its removal stays announced, and is completed later. */
  | { how: 'unconfirmed'; error: unknown; filename: string; removal: Removal }
>

export type RemoveAnswer = 'removed' | RefusalError

/** `error`: the reason why a file of another job could not be deleted. */
export type ExpireAnswer = Readonly<{ gone: readonly JobId[]; error?: unknown }>

export type PinAnswer = JobView | RefusalError

export type DeletedVideo = Readonly<{ jobId: JobId; filename: string }>

export type KeptVideo = DeletedVideo & Readonly<{ why: string }>

/** `kept`: files that are still there, and why. `unconfirmed`: nobody knows yet whether these are. */
export type DeletionAnswer = Readonly<{
  deleted: readonly DeletedVideo[]
  kept: readonly KeptVideo[]
  unconfirmed: readonly DeletedVideo[]
}>

export type JobDetail = JobView & Readonly<{ attempts: readonly Attempt[] }>
export type JobViewPage = Readonly<{ jobs: readonly JobView[]; hasMore: boolean }>
