/** What the actors need from the outside world: infra provides it, tests may script it. */
import type { Scope } from '../domain/client.ts'
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
  Reading,
  Shape,
  StageBegins,
  Timestamp,
  Trace,
  VideoFacts,
  VideoRequest,
} from '../domain/job.ts'
import type { NewWebhook } from './webhook/webhook-ports.ts'

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
    | { op: 'began'; epoch: Epoch }
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

/** One try at a job on one GPU: which, and what `generate.py` is to be told. */
export type AttemptOrder = Readonly<{ jobId: JobId; epoch: Epoch; request: VideoRequest }>

/** How one generation is run: today a shim and a process each; a resident worker could come in its place. */
export type GenerationRunner = {
  /** Begins a generation that outlives us. */
  start(order: AttemptOrder, observer: GenerationObserver): GenerationHandle
  /** Takes up one that a former owner began, or finds out what became of it. */
  adopt(order: AttemptOrder, observer: GenerationObserver): GenerationHandle
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

/** Told in this order: started, any number of readings, ended; or only ended. */
export type GenerationObserver = {
  started(at: Timestamp): void
  reported(reading: Reading): void
  ended(result: GenerationResult): void
}

export type GenerationHandle = {
  /** Asks it to stop, forces it after `graceMs`; its end is told to the observer. */
  stop(reason: StopReason, graceMs: number): void
  /** Stops observing; the generation goes on. */
  detach(): void
}

export type StopReason = 'canceled' | 'timeout' | 'orphaned'

export type GenerationResult = Readonly<
  | { how: 'completed' }
  | { how: 'failed'; failure: Failure }
  /** It had not begun, and now never will. */
  | { how: 'neverBegan' }
  /** It began, and its end was seen by nobody. */
  | { how: 'lost' }
  /** A process of it has survived SIGKILL and may still hold the GPU. */
  | { how: 'unkillable' }
>

/** ffprobe, ffmpeg and the way into `RESULTS_DIR`, step by step. */
export type VideoTools = {
  /** What the generation left; `undefined`: no file, or none that ffprobe can read. */
  inspect(attempt: AttemptKey): Promise<SourceVideo>
  /** Makes the finished file beside its final place; resolves with what ffprobe finds in it. */
  encode(conversion: Conversion, source: VideoFacts, signal: AbortSignal): Promise<VideoFacts>
  /** Gives the finished file its name, at once and for good. */
  publish(conversion: Conversion): Promise<void>
  /** Takes a published file back: its job was canceled meanwhile. */
  withdraw(conversion: Conversion): Promise<void>
  /** Removes an unfinished file. */
  discard(attempt: AttemptKey): Promise<void>
}

export type AttemptKey = Readonly<{ jobId: JobId; epoch: Epoch }>

export type Conversion = AttemptKey & Readonly<{ request: VideoRequest; filename: string }>

export type SourceVideo = Readonly<
  { how: 'missing' } | { how: 'unreadable'; why: string } | { how: 'readable'; facts: VideoFacts }
>

/** What the past tells about speed. */
export type AttemptHistory = {
  /** The latest successful attempts of each GPU at this task, oldest first, at most `perGpu` of each. */
  recent(perGpu: number): Promise<readonly PastAttempt[]>
}

export type PastAttempt = Readonly<{
  gpu: GpuId
  /** What the GPU was then; its number may belong to another one by now. */
  gpuModel?: string
  shape: Shape
  claimedAt: Timestamp
  /** When its generation ended and its GPU was free. */
  generatedAt: Timestamp
  endedAt: Timestamp
  began?: StageBegins
}>

/** What has been told of jobs, to be held against what became of them. */
export type EstimateLog = {
  record(estimates: readonly ToldEstimate[]): Promise<void>
  /** Of the latest jobs that succeeded at their first attempt, the oldest estimate first. */
  outcomes(limit: number): Promise<readonly EstimateOutcome[]>
}

/** When an estimate is kept: at the submission, and when its progress gets there. */
export const checkpoints = ['submit', '25', '50', '75'] as const
export type Checkpoint = (typeof checkpoints)[number]

/** What an estimate rests on: the run itself as our launcher or its output tell it, past runs, nothing. */
export const etaSources = ['events', 'log', 'history', 'default'] as const
export type EtaSource = (typeof etaSources)[number]

/** Seconds from `at` until the video is there. */
export type ToldEstimate = Readonly<{
  jobId: JobId
  checkpoint: Checkpoint
  at: Timestamp
  source: EtaSource
  /** One in ten videos is there before `p10`, half by `p50`, nine in ten by `p90`. */
  p10: number
  p50: number
  p90: number
  /** Expected standard deviation of the logarithm, before it was corrected by experience. */
  spread: number
}>

export type EstimateOutcome = ToldEstimate & Readonly<{ gpu: GpuId; actual: number }>

/** What is done for the disks besides working on them. */
export type Housekeeping = {
  /** Each place that is written to, though several may be on one disk. */
  measure(): Promise<readonly Disk[]>
  /** Backs up the database for this day (`2026-07-31`) unless that has been done. */
  backUp(day: string): Promise<void>
  /** Keeps back some room for what must be written on a full disk. */
  restoreReserve(): Promise<void>
  /** Removes logs and archived work that are older and belong to no job. */
  removeLeftOvers(before: Timestamp): Promise<void>
}

/** What is to be known of jobs to say which of them have been kept long enough. */
export type RetentionStore = {
  /** When the last job ended that is over and not pinned: a clock that is right is not behind that. */
  latestEnd(): Promise<Timestamp | undefined>
  /** What all videos that are there take together. */
  videoBytes(): Promise<number>
  /** Jobs that are over and not pinned: the one that ended first comes first. */
  finished(filter: FinishedFilter): Promise<readonly FinishedJob[]>
}

export type FinishedFilter = Readonly<{
  limit: number
  /** Begins behind this one. */
  after?: Pick<FinishedJob, 'endedAt' | 'seq'>
  endedBefore?: Timestamp
  status?: readonly FinishedStatus[]
  /** Only jobs whose file is there. */
  withVideo?: boolean
}>

export type FinishedStatus = Extract<JobStatus, 'success' | 'error' | 'canceled'>

export type FinishedJob = Readonly<{
  jobId: JobId
  seq: number
  endedAt: Timestamp
  /** What its video takes; 0: there is none. */
  bytes: number
  /** Somebody is still to be told of its end. */
  isAwaited: boolean
}>

export type Disk = Readonly<{ place: DiskPlace; path: string; freeBytes: number }>

/** What is written there. */
export const diskPlaces = ['work', 'results', 'logs', 'database'] as const
export type DiskPlace = (typeof diskPlaces)[number]

/** One thing that has to be so before jobs get anywhere; `detail` says what to do when it is not. */
export type Check = Readonly<{ name: string; ok: boolean; detail: string }>

/** How old the verdict is: who asks never waits for a new one. */
export type StandingCheck = Check & Readonly<{ ageMs: number }>
