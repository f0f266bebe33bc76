import type { Check } from '../../domain/check.ts'
import type { Caused, Client, Scoped } from '../../domain/client.ts'
import type { Shortage } from '../../domain/disk.ts'
import type { RefusalError } from '../../domain/errors.ts'
import type {
  AttemptKey,
  Failure,
  GenerationStartKind,
  GpuHealth,
  GpuId,
  Job,
  JobId,
  Reading,
  Timestamp,
  VideoDraft,
  VideoFacts,
  VideoRequest,
} from '../../domain/job.ts'
import type { NodeName } from '../../domain/node.ts'
import type { Quota } from '../../domain/quota.ts'
import type { NewWebhook } from '../../domain/webhook.ts'
import type { Asks } from '../actor.ts'
import type { PastAttempt } from '../eta/eta-ports.ts'
import type { GenerationResult } from '../gpu/gpu-ports.ts'
import type { GenerationStart } from '../gpu/gpu-protocol.ts'
import type { Hold } from './environment-state.ts'
import type { Earlier, Identity, JobWebhook } from './queue-ports.ts'

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
  /** What the shell makes of `submit`: everything chosen, its wished-for name looked up. */
  | ({ type: 'admit' } & Submission)
  /** The next of these changes what a GPU may be given; answered with what is then known of it. */
  | ({ type: 'drainGpu' | 'resumeGpu'; gpu: GpuId } & Caused & Asks<GpuUse | RefusalError>)
  /** Before an operator restarts a GPU's actor: its job is not to be adopted but given back, or failed. */
  | ({ type: 'disown'; gpu: GpuId; fate: 'giveBack' | 'fail' } & Asks<GpuUse | RefusalError>)
  /** All GPUs of a node. */
  | ({ type: 'drainNode' | 'resumeNode'; node: NodeName } & Caused & Asks<NodeUse | RefusalError>)
  /** The operator's word that the machine is off. Refused while its node is there. */
  | ({ type: 'removeNode'; node: NodeName } & Asks<'removed' | RefusalError>)
  /** Takes nothing new and claims nothing more; answered when what `mode` wants to wait for is over. */
  | ({ type: 'close'; mode: CloseMode } & Asks<'closed'>)
>

/** News, in the past tense. What concerns an attempt names its job and epoch. */
export type QueueNews = Readonly<
  /** An incarnation is there for work, or at work already. Told again, it changes nothing. */
  | { type: 'gpuReady'; gpu: GpuId; incarnation: string; holding?: AttemptKey }
  /** `givenUp`: nobody will watch over its generation until an operator restarts it. */
  | { type: 'gpuGone'; gpu: GpuId; givenUp: boolean }
  /** A process of an attempt that has ended there survives SIGKILL. Repeated news changes nothing. */
  | { type: 'processesLeft'; gpu: GpuId }
  /** A node is there: new, back again, or with other GPUs. Repeated news changes nothing. */
  | { type: 'nodeJoined'; node: NodeName; gpus: readonly GpuId[]; maxConcurrentLoads: number }
  /** The node was stopped, and its generations continue. */
  | { type: 'nodeLeft'; node: NodeName; gpus: readonly GpuId[] }
  /** Its beat stood still: the machine or the network is down. */
  | { type: 'nodeLost'; node: NodeName; gpus: readonly GpuId[] }
  | ({ type: 'runDeclined' } & AttemptKey)
  /** `gpu`: the one that the generation is on. If the queue does not know the attempt, it is stopped there. */
  | ({ type: 'generationStarted'; gpu: GpuId } & GenerationStart & AttemptKey)
  | ({ type: 'generationReported'; gpu: GpuId; reading: Reading } & AttemptKey)
  | ({ type: 'generationEnded'; result: GenerationResult } & AttemptKey)
  | { type: 'probeDue'; gpu: GpuId; since: Timestamp }
  /** Whether there is room on every disk that is written on a node. */
  | ({ type: 'roomChecked'; hasRoom: boolean; shortage?: Shortage } & OfNode)
  /** Latest verdicts on what a generation and a conversion need. */
  | ({ type: 'environmentChecked'; checks: readonly Check[] } & OfNode)
  /** After a failure by the environment, a job may probe. */
  | ({ type: 'pauseEnded'; pause: number } & OfNode)
  /** The time has passed after which a generation without an actor on its GPU is taken care of. */
  | ({ type: 'careDue' } & AttemptKey)
  /** The time has passed for which a load may hold up others. */
  | ({ type: 'loadOverdue' } & AttemptKey)
  /** A template is to be loaded, and takes its turn among the loads. Repeated, it changes nothing. */
  | ({ type: 'templateWaits'; build: number } & OfNode)
  /** It has loaded, or does not any more. */
  | ({ type: 'templateSettled'; build: number } & OfNode)
  /** The time has passed for which its load may hold up others. */
  | ({ type: 'templateOverdue'; build: number } & OfNode)
  | ({ type: 'conversionReady' } & OfNode)
  | { type: 'caretakerReady' }
  | ({ type: 'converted'; video: VideoFacts } & AttemptKey)
  | ({ type: 'conversionFailed'; failure: Failure } & AttemptKey)
  | ({ type: 'conversionAborted' } & AttemptKey)
  /** The files of the generation are gone, as after the restore of a backup. */
  | ({ type: 'conversionLost' } & AttemptKey)
  | { type: 'cancelOverdue'; ticket: number }
  | { type: 'cancelContinues'; ticket: number }
  /** A submission could not be prepared. */
  | ({
      type: 'preparationFailed'
      filename: string | undefined
      error: unknown
    } & Asks<SubmitAnswer>)
  /** The job that a repeated submission was taken for before, if it is still there. */
  | ({
      type: 'repetitionFound'
      jobId: JobId
      job: Job | undefined
      webhook: JobWebhook | undefined
    } & Asks<SubmitAnswer>)
  | {
      type: 'speedsLearned'
      secondsPerJob: ReadonlyMap<GpuId, number>
      loadSeconds?: ReadonlyMap<GpuId, number>
    }
>

/** Which node the news is of; absent: the first one, which is that of the queue itself. */
type OfNode = Readonly<{ node?: NodeName }>

/** Questions: answered from the committed state, which they never change. */
export type QueueQuestion = Readonly<
  | ({ type: 'describeGpus' } & Asks<readonly GpuUse[]>)
  | ({ type: 'describeNodes' } & Asks<readonly NodeUse[]>)
  | ({ type: 'describeQueue' } & Asks<QueueSummary>)
  /** A new incarnation of an actor that keeps a snapshot of the queue; it is sent `queueChanged`. */
  | { type: 'etaReady' }
  | { type: 'archiveReady' }
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
 * The job as it was taken, and what is left to the client. Only the caller that submitted the job, with
 * the same request, receives the secret of its webhook.
 * `repeated`: the job was there already, for this request was taken before.
 */
export type SubmitAnswer =
  | (JobView & Readonly<{ quota?: Quota; repeated?: boolean; webhook?: JobWebhook }>)
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

/** A job as the API shows it: its record, and what only the queue knows of it. */
export type JobView = Readonly<{
  job: Job
  /** 1 is next; only while queued. */
  position?: number
  /** Why no job is claimed; only while queued. */
  waitsFor?: Hold['reason']
  /** Only while running. */
  reading?: Reading
  /** Where it runs; only while running. */
  node?: NodeName
}>

/** What the queue knows of a GPU. */
export type GpuUse = Readonly<{
  gpu: GpuId
  node: NodeName
  /** Its actor is there. */
  ready: boolean
  health: GpuHealth
  jobId?: JobId
  /** How its generation was started. Absent until that is known. */
  start?: GenerationStartKind
  reading?: Reading
  /** Its load takes so much longer than usual that it no longer holds up others. */
  loadsUnusuallyLong: boolean
}>

/** Facts about a node. */
export type NodeUse = Readonly<{
  name: NodeName
  presence: 'present' | 'left' | 'lost'
  gpus: readonly GpuId[]
  maxConcurrentLoads: number
  /** All of its GPUs are. */
  drained: boolean
  hasRoom: boolean
  /** Why no job is claimed there. */
  hold?: Hold
}>

/** Trouble of a node. */
export type NodeCondition = Readonly<
  Pick<NodeUse, 'name' | 'gpus' | 'hold'> & {
    /** Standing checks that fail there, also those that hold nothing because a generation has got through. */
    failed: readonly Check[]
  }
>

/** `detach`: generations go on in their shims. `drain`: they are waited for. `kill`: they are stopped. */
export type CloseMode = 'detach' | 'drain' | 'kill'

/** Whether jobs get anywhere, and if not why. */
export type QueueSummary = Readonly<{
  open: boolean
  hasRoom: boolean
  /** Why no job is claimed, whatever GPUs there are. */
  hold?: Hold
  /** Present nodes. */
  nodes: readonly NodeCondition[]
  waiting: number
  running: number
  /** When the one that has waited longest was submitted. */
  oldestAt?: Timestamp
  /** GPUs that may be given a job now or after the one they have. */
  usableGpus: readonly GpuId[]
  /** GPUs whose generation loads unusually long. */
  slowLoads: readonly GpuId[]
}>

/** What became of a job with one commit: its record changed, its stage did, or only the step it is at. */
export type JobChange = 'status' | 'stage' | 'step'

/** An attempt that led to a video. */
export type FinishedAttempt = AttemptKey &
  Readonly<{ attempts: number }> &
  Omit<PastAttempt, 'gpuModel'>
