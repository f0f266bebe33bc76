import type { Scope } from '../../domain/client.ts'
import type {
  Attempt,
  Epoch,
  Expired,
  Failure,
  GpuHealth,
  GpuId,
  Job,
  JobId,
  JobStatus,
  Shape,
  Timestamp,
  Trace,
  VideoFacts,
  VideoRequest,
} from '../../domain/job.ts'
import type { NewWebhook } from '../../domain/webhook.ts'
/** One change to the record of one job; what carries an old epoch is refused by the store too. */
export type StoreOperation = JobOperation | GpuOperation | TombstoneOperation

/** What is remembered of a GPU, as a whole. */
export type GpuOperation = Readonly<{ op: 'setGpuHealth'; gpu: GpuId; health: GpuHealth }>

/** Of jobs that were deleted or have expired before: nobody is told of them any more. */
export type TombstoneOperation = Readonly<{ op: 'forgetTombstones'; before: Timestamp }>

export type JobOperation = Readonly<
  { jobId: JobId; at: Timestamp } & (
    | {
        op: 'submit'
        seq: number
        request: VideoRequest
        owner: string | null
        address: string | null
        /** To be told of its end. */
        webhook?: NewWebhook
      }
    /** Which request the job was taken for. A commit forgets first what is older than `keepSince`. */
    | { op: 'remember'; identity: Identity; keepSince: Timestamp }
    | { op: 'claim'; epoch: Epoch; attempt: number; gpu: GpuId; filename: string }
    /** `command`: what was run; absent when nobody knows it any more. */
    | { op: 'began'; epoch: Epoch; command?: readonly string[] }
    | { op: 'generated'; epoch: Epoch; trace?: Trace }
    | { op: 'release'; epoch: Epoch; attempts: number; failure?: Failure; trace?: Trace }
    | { op: 'requestCancel'; epoch: Epoch }
    | { op: 'finish'; epoch: Epoch; outcome: Outcome; trace?: Trace }
    | { op: 'forgetVideo' }
    /** Of a job that is over: its attempts stay for the statistics, and nobody sees it again. */
    | { op: 'remove' }
    /** The same, and for a while whoever asks is told since when it is gone. */
    | { op: 'expire' }
    | { op: 'pin'; pinned: boolean }
  )
>

export type Outcome = Readonly<
  | { status: 'success'; video: VideoFacts }
  | { status: 'error'; failure: Failure }
  | { status: 'canceled' }
>

/**
 * Asynchronous, so that a store on another machine can take its place. What lies outside a scope is
 * answered for like what does not exist.
 */
export type JobStore = {
  /** What a starting queue has to take up again, and what was submitted since a time. */
  load(submittedSince: Timestamp): Promise<StoredQueue>
  /** All or nothing, and durable when it resolves. Rejects with `DiskFullError` for want of room. */
  commit(operations: readonly StoreOperation[]): Promise<void>
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
  /** The latest job that was taken for this key or, where there is none, for an equal request. */
  findSubmission(identity: Identity, since: Timestamp): Promise<Earlier | undefined>
  /** The jobs of exactly this prompt, latest first. */
  lookup(prompt: string, limit: number, scope: Scope): Promise<Job[]>
  /** Finished jobs whose files are there. */
  videos(selection: VideoSelection, scope: Scope): Promise<Job[]>
  /** A waiting, running or present file of this name, whoever's: there is one directory for all. */
  isNamePromised(filename: string): Promise<boolean>
}

/** What tells one request from another. */
export type Identity = Readonly<{
  /** Keys of different callers have nothing to do with each other. */
  caller: string
  fingerprint: string
  key?: string
}>

/** A job, and the request that it was taken for. */
export type Earlier = Readonly<{ jobId: JobId; fingerprint: string }>

export type StoredQueue = Readonly<{
  nextSeq: number
  /** In the order of submission. */
  waiting: readonly StoredWaiting[]
  running: readonly Job[]
  gpus: ReadonlyMap<GpuId, GpuHealth>
  /** Oldest first. */
  submissions: readonly PastSubmission[]
}>

/** What the queue keeps in mind of each job that waits: its prompt alone may be longer than all this. */
export type StoredWaiting = Readonly<
  Pick<Job, 'id' | 'seq' | 'owner' | 'submittedAt' | 'epoch' | 'attempts'> & {
    request: Shape & Pick<VideoRequest, 'filename'>
  }
>

/** `by`: the owner, or the address of who has no name. */
export type PastSubmission = Readonly<{ by: string; at: Timestamp }>

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
  exists(filename: string): Promise<boolean>
  /** Somebody is downloading it, or will go on to in a moment. */
  isInUse(filename: string): boolean
  /** With all that was made from it; harmless when it is gone already. */
  remove(video: Readonly<{ jobId: JobId; filename: string }>): Promise<void>
}

/** What the attempts of a job work with, on disk. */
export type WorkFiles = {
  /** For good: the job is over. */
  discard(jobId: JobId): Promise<void>
  /** And its log with it: the job is deleted. */
  forget(jobId: JobId): Promise<void>
  /** Puts what was uploaded with the job, durably, before the job itself is. */
  keepImage(jobId: JobId, uploadId: string): Promise<void>
}
