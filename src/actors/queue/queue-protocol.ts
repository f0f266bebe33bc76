import type { Caused, Client, Scoped } from '../../domain/client.ts'
import type { RefusalError } from '../../domain/errors.ts'
import type {
  Attempt,
  AttemptKey,
  Epoch,
  Expired,
  Failure,
  GpuHealth,
  GpuId,
  Job,
  JobId,
  JobStatus,
  Reading,
  RunningPhase,
  Shape,
  Timestamp,
  Trace,
  VideoDraft,
  VideoFacts,
  VideoRequest,
} from '../../domain/job.ts'
import type { Quota } from '../../domain/quota.ts'
import type { NewWebhook } from '../../domain/webhook.ts'
import type { ActorRef, Asks } from '../actor.ts'
import type { Conversion } from '../conversion/conversion-ports.ts'
import type { PastAttempt } from '../eta/eta-ports.ts'
import type { GenerationResult, StopReason } from '../gpu/gpu-ports.ts'
import type { GenerationStart } from '../gpu/gpu-protocol.ts'
import type { OrderedMap } from '../ordered-map.ts'
import type {
  Earlier,
  Identity,
  JobFilter,
  PastSubmission,
  StoreOperation,
  VideoSelection,
} from './queue-ports.ts'

/** Orders, in the imperative: the queue may still refuse them. */
export type QueueCommand = Readonly<
  | ({
      type: 'submit'
      draft: VideoDraft
      client: Client
      repetition: Repetition
    } & Caused &
      Asks<SubmitAnswer>)
  /** Answered when no process of the canceled jobs is left, or after a bounded wait. */
  | ({ type: 'cancel'; selection: CancelSelection } & Scoped & Caused & Asks<CancelAnswer>)
  | ({ type: 'deleteVideos'; selection: VideoSelection } & Scoped &
      Caused &
      Asks<readonly DeletedVideo[]>)
  /** A job that is over, its record and all of its files: as if it had never been. */
  | ({ type: 'remove'; jobId: JobId } & Scoped & Caused & Asks<RemoveAnswer>)
  /** Finished jobs that nobody needs any more; answered with those that are gone. */
  | ({ type: 'expire'; jobIds: readonly JobId[] } & Asks<ExpireAnswer>)
  /** Whether a job is kept, however old it gets. */
  | ({ type: 'pin'; jobId: JobId; pinned: boolean } & Scoped & Caused & Asks<PinAnswer>)
  /** What the shell makes of `pin`: there is such a job. */
  | ({ type: 'setPin'; jobId: JobId; pinned: boolean } & Scoped & Caused & Asks<PinAnswer>)
  /** Of those that were deleted or have expired before, nothing more is told. */
  | { type: 'forgetTombstones'; before: Timestamp }
  /** What the shell makes of `submit`: everything chosen, its wished-for name looked up. */
  | ({ type: 'admit' } & Submission)
  /** The next of these changes what a GPU may be given; answered with what is then known of it. */
  | ({ type: 'drainGpu' | 'resumeGpu'; gpu: GpuId } & Caused & Asks<GpuUse | RefusalError>)
  /** Before an operator restarts a GPU's actor: its job is not to be adopted but given back, or failed. */
  | ({ type: 'disown'; gpu: GpuId; fate: 'giveBack' | 'fail' } & Asks<GpuUse | RefusalError>)
  /** Takes nothing new and claims nothing more; answered when what `mode` wants to wait for is over. */
  | ({ type: 'close'; mode: CloseMode } & Asks<'closed'>)
>

/** News, in the past tense. What concerns an attempt names its job and epoch. */
export type QueueNews = Readonly<
  /** An incarnation is there for work, or at work already. Told again, it changes nothing. */
  | { type: 'gpuReady'; gpu: GpuId; incarnation: string; holding?: AttemptKey }
  /** `givenUp`: nobody will watch over its generation until an operator restarts it. */
  | { type: 'gpuGone'; gpu: GpuId; givenUp: boolean }
  | ({ type: 'runDeclined' } & AttemptKey)
  | ({ type: 'generationStarted' } & GenerationStart & AttemptKey)
  | ({ type: 'generationReported'; reading: Reading } & AttemptKey)
  | ({ type: 'generationEnded'; result: GenerationResult } & AttemptKey)
  | { type: 'probeDue'; gpu: GpuId; since: Timestamp }
  /** Whether there is room on every disk that is written. */
  | { type: 'roomChecked'; hasRoom: boolean }
  | { type: 'conversionReady' }
  | ({ type: 'converted'; video: VideoFacts } & AttemptKey)
  | ({ type: 'conversionFailed'; failure: Failure } & AttemptKey)
  | ({ type: 'conversionAborted' } & AttemptKey)
  | { type: 'cancelOverdue'; ticket: number }
  | ({ type: 'videosRemoved'; jobs: readonly DeletedVideo[] } & Caused &
      Asks<readonly DeletedVideo[]>)
  | ({ type: 'jobFilesRemoved'; jobId: JobId } & Caused & Asks<RemoveAnswer>)
  /** The files of some of them are gone. The others were needed after all, or would not go. */
  | {
      type: 'jobsExpired'
      jobIds: readonly JobId[]
      answer: ExpireAnswer
      replyTo: ActorRef<ExpireAnswer>
    }
  | { type: 'etaReady' }
  | { type: 'speedsLearned'; secondsPerJob: ReadonlyMap<GpuId, number> }
>

/** Questions: answered from the record and the present state, which they never change. */
export type QueueQuestion = Readonly<
  | ({ type: 'find'; jobId: JobId } & Scoped & Asks<JobView | Expired | undefined>)
  | ({ type: 'findMany'; jobIds: readonly JobId[] } & Scoped & Asks<readonly JobView[]>)
  | ({ type: 'describe'; jobId: JobId } & Scoped & Asks<JobDetail | Expired | undefined>)
  | ({ type: 'list'; filter: JobFilter } & Scoped & Asks<JobViewPage>)
  | ({ type: 'lookup'; prompt: string; limit: number } & Scoped & Asks<readonly JobView[]>)
  | ({ type: 'findVideo'; filename: string } & Scoped & Asks<Job | Expired | undefined>)
  | ({ type: 'describeGpus' } & Asks<readonly GpuUse[]>)
  | ({ type: 'describeQueue' } & Asks<QueueSummary>)
>

export type QueueMessage = QueueCommand | QueueNews | QueueQuestion

export type Submission = Readonly<{
  jobId: JobId
  request: VideoRequest
  client: Client
  identity: Identity
  repetition: Repetition
  /** Found in the store when the submission was prepared. */
  earlier?: Earlier | undefined
  /** The name asked for belongs to a file or another job already. */
  nameTaken: boolean
  webhook?: NewWebhook
}> &
  Caused &
  Asks<SubmitAnswer>

/** What a request says about having been sent before. */
export type Repetition = Readonly<{
  key?: string
  /** Its client has tried before and got no answer. */
  isRetry: boolean
}>

/**
 * The job as it was taken, and what is left to the client; its webhook's secret is told this once.
 * `repeated`: the job was there already, for this request was taken before.
 */
export type SubmitAnswer =
  | (JobView & Readonly<{ quota?: Quota; repeated?: boolean; webhook?: NewWebhook }>)
  | RefusalError

export type CancelSelection = Readonly<
  { ids: readonly JobId[] } | { status: readonly ('queued' | 'running')[] }
>

export type CancelAnswer = Readonly<{
  canceled: readonly JobId[]
  /** Told to stop, but not gone yet when the answer had to be given. */
  canceling: readonly JobId[]
  /** Selected by id, but neither queued nor running, or not in the scope. */
  rest: readonly JobId[]
}>

export type RemoveAnswer = 'removed' | RefusalError

/** `error`: why something of the others could not be removed. */
export type ExpireAnswer = Readonly<{ gone: readonly JobId[]; error?: unknown }>

export type PinAnswer = JobView | RefusalError

export type DeletedVideo = Readonly<{ jobId: JobId; filename: string }>

/** A job as the API shows it: its record, and what only the queue knows of it. */
export type JobView = Readonly<{
  job: Job
  /** 1 is next; only while queued. */
  position?: number
  /** Only while running. */
  reading?: Reading
}>

export type JobDetail = JobView & Readonly<{ attempts: readonly Attempt[] }>
export type JobViewPage = Readonly<{ jobs: readonly JobView[]; hasMore: boolean }>

/** What the queue knows of a GPU. */
export type GpuUse = Readonly<{
  gpu: GpuId
  /** Its actor is there. */
  ready: boolean
  health: GpuHealth
  jobId?: JobId
  reading?: Reading
}>

/** `detach`: generations go on in their shims. `drain`: they are waited for. `kill`: they are stopped. */
export type CloseMode = 'detach' | 'drain' | 'kill'

/** Whether jobs get anywhere, and if not why. */
export type QueueSummary = Readonly<{
  open: boolean
  hasRoom: boolean
  waiting: number
  running: number
  /** When the one that has waited longest was submitted. */
  oldestAt?: Timestamp
  /** GPUs that may be given a job now or after the one they have. */
  usableGpus: readonly GpuId[]
}>

export type WaitingJob = Readonly<{
  jobId: JobId
  owner: string | null
  seq: number
  submittedAt: Timestamp
  epoch: Epoch
  attempts: number
  shape: Shape
  /** Only when a name was asked for. */
  filename?: string
  /** Where its last attempt failed: another GPU is tried first. */
  failedOn?: GpuId
}>

export type RunningJob = Readonly<{
  jobId: JobId
  owner: string | null
  seq: number
  submittedAt: Timestamp
  epoch: Epoch
  attempts: number
  shape: Shape
  gpu: GpuId
  filename: string
  /** Only when a name was asked for: it is kept over a retry. */
  requestedFilename?: string
  phase: RunningPhase
  claimedAt: Timestamp
  startedAt?: Timestamp
  generatedAt?: Timestamp
  cancelRequested: boolean
  /** It is to be stopped rather than finished: then queued again, failed, or given back uncounted. */
  orphaned?: 'requeue' | 'fail' | 'giveBack'
  reading?: Reading
  /** Of its generation, once that is over. */
  trace?: Trace
}>

export type QueueSettings = Readonly<{
  gpus: readonly GpuId[]
  maxAttempts: number
  maxQueue: number
  /** Of one client; 0: as many as it likes. */
  jobsPerHour: number
  maxConcurrentLoads: number
  /** What becomes of a running job whose generation is lost. */
  orphanPolicy: 'adopt' | 'requeue' | 'fail'
  /** Failures of different jobs in a row that put a GPU into quarantine. */
  quarantineAfter: number
  /** How long for the first time; doubled each time up to an hour. */
  quarantineMs: number
  /** How long an answer to a cancel may be waited for. */
  cancelWaitMs: number
}>

export type QueueState = Readonly<{
  settings: QueueSettings
  open: boolean
  /** Somebody waits for the end of what runs. */
  closing?: Readonly<{ mode: CloseMode; replyTo: ActorRef<'closed'> }>
  /** On every disk that is written; without it nothing is taken or claimed. */
  hasRoom: boolean
  nextSeq: number
  nextTicket: number
  /** In the order of submission, which is the order of the queue. */
  waiting: OrderedMap<number, WaitingJob>
  seqOf: OrderedMap<JobId, number>
  running: ReadonlyMap<JobId, RunningJob>
  /** Names asked for by waiting and running jobs. */
  names: OrderedMap<string, JobId>
  /** What counts against JOBS_PER_HOUR, oldest first. */
  submissions: readonly PastSubmission[]
  /** What was submitted just now, to know it again. */
  recent: RecentSubmissions
  /** Which incarnation is there for work on each GPU. */
  readyGpus: ReadonlyMap<GpuId, string>
  /** Their generations are heard of no more, and must not hold up the others. */
  givenUpGpus: ReadonlySet<GpuId>
  gpuHealth: ReadonlyMap<GpuId, GpuHealth>
  secondsPerJob: ReadonlyMap<GpuId, number>
  tickets: ReadonlyMap<number, CancelTicket>
  /** Their files are being removed. */
  expiring: ReadonlySet<JobId>
}>

/** Somebody waits to hear that these jobs are canceled. */
export type CancelTicket = Readonly<{
  replyTo: ActorRef<CancelAnswer>
  waitingFor: ReadonlySet<JobId>
  canceled: readonly JobId[]
  rest: readonly JobId[]
}>

/** What others may see of the queue: it never changes, so it is handed over as it is. */
export type QueueSnapshot = Pick<
  QueueState,
  | 'settings'
  | 'hasRoom'
  | 'waiting'
  | 'seqOf'
  | 'running'
  | 'readyGpus'
  | 'givenUpGpus'
  | 'gpuHealth'
>

export type QueueEffect = Readonly<
  | { do: 'store'; operation: StoreOperation }
  | ({ do: 'prepareSubmission' } & Omit<Extract<QueueCommand, { type: 'submit' }>, 'type'>)
  | { do: 'answerSubmit'; to: ActorRef<SubmitAnswer>; answer: SubmitAnswer }
  | { do: 'answerRepeated'; to: ActorRef<SubmitAnswer>; jobId: JobId }
  | { do: 'answerCancel'; to: ActorRef<CancelAnswer>; answer: CancelAnswer }
  | { do: 'expectCancel'; ticket: number; withinMs: number }
  | { do: 'expectProbe'; gpu: GpuId; since: Timestamp; withinMs: number }
  | { do: 'answerGpu'; to: ActorRef<GpuUse | RefusalError>; answer: GpuUse | RefusalError }
  | { do: 'answerClosed'; to: ActorRef<'closed'> }
  | ({ do: 'logGpu'; gpu: GpuId; health: GpuHealth } & Caused)
  | ({ do: 'startGeneration' | 'adoptGeneration'; gpu: GpuId } & AttemptKey)
  | ({ do: 'stopGeneration'; gpu: GpuId; reason: StopReason } & AttemptKey)
  | ({ do: 'convert' } & Omit<Conversion, 'request'>)
  | ({ do: 'abortConversion' } & AttemptKey)
  | { do: 'discardWork'; jobId: JobId }
  | ({ do: 'removeVideos'; selection: VideoSelection } & Scoped &
      Caused &
      Asks<readonly DeletedVideo[]>)
  | ({ do: 'removeJob'; jobId: JobId } & Scoped & Caused & Asks<RemoveAnswer>)
  | ({ do: 'expireJobs'; jobIds: readonly JobId[] } & Asks<ExpireAnswer>)
  | { do: 'answerExpired'; to: ActorRef<ExpireAnswer>; answer: ExpireAnswer }
  | ({ do: 'findForPin'; jobId: JobId; pinned: boolean } & Scoped & Caused & Asks<PinAnswer>)
  | { do: 'answerPin'; to: ActorRef<PinAnswer>; answer: RefusalError }
  | ({ do: 'answerPinned'; jobId: JobId } & Scoped & Asks<PinAnswer>)
  | { do: 'answerRemove'; to: ActorRef<RemoveAnswer>; answer: RemoveAnswer }
  | { do: 'answerDeleted'; to: ActorRef<readonly DeletedVideo[]>; jobs: readonly DeletedVideo[] }
  | { do: 'tellEta'; attempt: FinishedAttempt }
  | { do: 'showEta' }
  | ({
      do: 'logStatus'
      jobId: JobId
      status: JobStatus
      epoch: Epoch
      attempt?: number
      gpu?: GpuId
      cancelRequested?: true
      failure?: Failure
    } & Caused)
  | ({ do: 'logChange'; jobId: JobId; change: RecordChange } & Caused)
>

/** What somebody has done to the record of a job whose status stays as it is. */
export type RecordChange = 'pinned' | 'unpinned' | 'video deleted' | 'deleted'

/** What became of a job with one commit: its record changed, its stage did, or only the step it is at. */
export type JobChange = 'status' | 'stage' | 'step'

/** An attempt that led to a video. */
export type FinishedAttempt = AttemptKey &
  Readonly<{ attempts: number }> &
  Omit<PastAttempt, 'gpuModel'>

/** Two generations, of which the older is forgotten as a whole. */
export type RecentSubmissions = Readonly<{
  young: OrderedMap<string, Recent>
  old: OrderedMap<string, Recent>
  /** When the younger one was begun. */
  since: Timestamp
}>

type Recent = Earlier & Readonly<{ at: Timestamp }>
