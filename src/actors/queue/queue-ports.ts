import type { Scope } from '../../domain/client.ts'
import type { DatabaseUnreachableError } from '../../domain/errors.ts'
import type {
  AttemptKey,
  Epoch,
  Failure,
  GenerationStartKind,
  GpuHealth,
  GpuId,
  Job,
  JobId,
  Shape,
  Timestamp,
  Trace,
  VideoFacts,
  VideoRequest,
} from '../../domain/job.ts'
import type { NodeName } from '../../domain/node.ts'
import type { NewWebhook } from '../../domain/webhook.ts'

/** Changes to the store that the queue makes. A change with an outdated epoch is refused by the store. */
export type QueueOperation = JobOperation | GpuOperation | AttemptOperation

/** What is remembered of a GPU as a whole, and whether those are drained that its node gets later. */
export type GpuOperation = Readonly<
  | { op: 'setGpuHealth'; gpu: GpuId; health: GpuHealth }
  | { op: 'setNodeDrained'; node: NodeName; drained: boolean }
>

/** No process of these attempts is left on the node that was lost with them. */
export type AttemptOperation = Readonly<{
  op: 'account'
  attempts: readonly AttemptKey[]
  at: Timestamp
}>

/** Changes to the record of a job that has not ended, up to its end. */
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
    /** `command`: what was run, and how; absent when nobody knows it any more. */
    | { op: 'began'; epoch: Epoch; command?: readonly string[]; start?: GenerationStartKind }
    | { op: 'generated'; epoch: Epoch; trace?: Trace }
    | { op: 'release'; epoch: Epoch; attempts: number; failure?: Failure; trace?: Trace }
    /** Back from its place in the queue to the attempt that was released, which has gone on. */
    | ({ op: 'reclaim'; attempt: number; filename: string } & Omit<
        LostAttempt,
        'jobId' | 'generatedAt'
      >)
    | { op: 'requestCancel'; epoch: Epoch }
    | { op: 'finish'; epoch: Epoch; outcome: Outcome; trace?: Trace }
  )
>

export type Outcome = Readonly<
  | { status: 'success'; video: VideoFacts }
  | { status: 'error'; failure: Failure }
  | { status: 'canceled' }
>

/** Outcome of a commit. Unless it is `committed`, nothing of it is stored. */
export type CommitResult = Readonly<
  | { how: 'committed' }
  /** The record is not in the state that a change relies on: memory and disk disagree. */
  | { how: 'stale'; why: string }
  /** The disk is full. */
  | { how: 'full'; error: Error }
  /** Another program holds the lock of the store. */
  | { how: 'locked'; error: Error }
  /**
   * The store does not answer. Where the error says that the changes may be stored, the next commit
   * finds out, and is `stale` if they are.
   */
  | { how: 'unreachable'; error: DatabaseUnreachableError }
>

/** Asynchronous, so that a store on another machine can take its place. */
export type QueueStore = {
  /**
   * What a starting queue has to take up again, and what was submitted since a time. That time, and
   * those of `remember` and `findSubmission`, are of the steady clock (`steadyNow`).
   */
  load(submittedSince: Timestamp): Promise<StoredQueue>
  /** All or nothing, and durable when it resolves. */
  commit(operations: readonly QueueOperation[]): Promise<CommitResult>
  find(jobId: JobId, scope: Scope): Promise<Job | undefined>
  /** The latest job that was taken for this key or, where there is none, for an equal request. */
  findSubmission(identity: Identity, since: Timestamp): Promise<Earlier | undefined>
  /** The webhook of this job alone, with the secret that signs now. */
  findWebhook(jobId: JobId): Promise<JobWebhook | undefined>
  /** A waiting, running or present file of this name, whoever's: there is one directory for all. */
  isNamePromised(filename: string): Promise<boolean>
}

/** What a client has to know of the webhook that it submitted with a job. */
export type JobWebhook = Pick<NewWebhook, 'id' | 'secret'>

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
  drainedNodes: ReadonlySet<NodeName>
  /** Attempts of open jobs that failed as `node_lost` and are not accounted for. */
  lost: readonly LostAttempt[]
  /** Oldest first. */
  submissions: readonly PastSubmission[]
}>

/** What the queue keeps in mind of each job that waits: its prompt alone may be longer than all this. */
export type StoredWaiting = Readonly<
  Pick<Job, 'id' | 'seq' | 'owner' | 'submittedAt' | 'epoch' | 'attempts'> & {
    request: Shape & Pick<VideoRequest, 'filename'>
  }
>

/** `generatedAt`: its generation had ended, and its video was being made. */
export type LostAttempt = AttemptKey &
  Readonly<{
    gpu: GpuId
    claimedAt: Timestamp
    startedAt?: Timestamp
    generatedAt?: Timestamp
  }>

/** `by`: the owner, or the address of who has no name. */
export type PastSubmission = Readonly<{ by: string; at: Timestamp }>

/** The directory of finished videos. */
export type ResultFiles = {
  exists(filename: string): Promise<boolean>
}

/** What the attempts of a job work with, on disk. */
export type WorkFiles = {
  /** For good: the job is over. */
  discard(jobId: JobId): Promise<void>
  /** Puts what was uploaded with the job, durably, before the job itself is. */
  keepImage(jobId: JobId, uploadId: string): Promise<void>
}

/** The standing checks of what a generation and a conversion need. Verdicts reach the queue as news. */
export type Installation = {
  /** Has them made now, because a job has just failed by the environment. */
  lookAgain(): void
}
