import type { Generated, GeneratedAlways } from 'kysely'
import type { ToldEstimate } from '../../domain/estimate.ts'
import type { Doubt } from '../../domain/hold.ts'
import type {
  Epoch,
  FileLoss,
  GenerationStartKind,
  GpuId,
  JobId,
  JobStatus,
  Removal,
  RunningPhase,
  Timestamp,
  VideoSize,
} from '../../domain/job.ts'
import type { NodeName } from '../../domain/node.ts'
import type { DeliveryId, DeliveryStatus, WebhookEvent, WebhookId } from '../../domain/webhook.ts'

/** Tables and columns, as the latest migration leaves them. */
export type Database = {
  job: JobTable
  attempt: AttemptTable
  gpu: GpuTable
  drained_node: DrainedNodeTable
  webhook: WebhookTable
  delivery: DeliveryTable
  delivery_clock: DeliveryClockTable
  submission: SubmissionTable
  estimate: EstimateTable
  clock: ClockTable
  leader: LeaderTable
  node_gpu: NodeGpuTable
  image: ImageTable
}

type JobTable = {
  seq: number
  id: JobId
  prompt: string
  /** Finds a prompt without an index as large as all prompts. */
  prompt_digest: string
  negative_prompt: string | null
  size: VideoSize
  frames: number
  steps: number
  guidance: number | null
  shift: number | null
  seed: number
  requested_filename: string | null
  /** `nameKey` of it. */
  name_key: string | null
  /** JSON, an InputImage. */
  image: string | null
  /** The job whose video this one varies. */
  remix_of: JobId | null
  /** JSON, an object of texts. */
  metadata: string | null
  submitted_at: Timestamp
  /** The name of a token; null: nobody was asked for one. */
  owner: string | null
  /** Where it came from, if it has no owner and is counted against a limit. */
  address: string | null
  status: JobStatus
  epoch: Epoch
  attempts: number
  phase: RunningPhase | null
  gpu: GpuId | null
  filename: string | null
  claimed_at: Timestamp | null
  started_at: Timestamp | null
  generated_at: Timestamp | null
  cancel_requested_at: Timestamp | null
  ended_at: Timestamp | null
  /** JSON, a Failure. */
  failure: string | null
  /** JSON, VideoFacts. */
  video: string | null
  file_deleted_at: Timestamp | null
  /** Why the file is gone; null if it was deleted on request. */
  file_lost: FileLoss | null
  /** The file is about to be deleted, or is deleted and the rest of the change is not written. */
  removing: Removal | null
  /** Deleted for whoever asks: only its attempts are of use still. */
  deleted_at: Timestamp | null
  /** Deleted because its time was over: so much is told of it for a while. */
  expired_at: Timestamp | null
  pinned_at: Timestamp | null
  /** What its file takes, by `video`; null: there is none. */
  file_bytes: GeneratedAlways<number | null>
}

/** Which request each job was taken for, as long as it may be repeated. */
type SubmissionTable = {
  job_id: JobId
  caller: string
  key: string | null
  fingerprint: string
  /** Of the steady clock, which is moved to the wall clock at each start. */
  at: Timestamp
}

type GpuTable = {
  id: GpuId
  /** JSON, a GpuHealth. */
  health: string
}

/** A row for each drained node. */
type DrainedNodeTable = { name: NodeName }

type WebhookTable = {
  id: WebhookId
  owner: string | null
  /** JSON, an array of names of clients; null: not recorded, until the service starts. */
  registered_by: string | null
  job_id: JobId | null
  url: string
  /** JSON, an array of JobEvent. */
  events: string
  /** JSON, an array of WebhookSecret, the latest first. */
  secrets: string
  created_at: Timestamp
  disabled_at: Timestamp | null
}

type DeliveryTable = {
  seq: Generated<number>
  id: DeliveryId
  webhook_id: WebhookId
  receiver: string
  event: WebhookEvent
  job_id: JobId | null
  created_at: Timestamp
  /** On the clock of deliveries, as `next_at`. */
  since: number
  status: DeliveryStatus
  attempts: number
  next_at: number | null
  last_at: Timestamp | null
  last_status: number | null
  last_error: string | null
}

/** One row: what the clock of deliveries showed when it was last stored. */
type DeliveryClockTable = {
  id: 1
  steady: number
  at: Timestamp
}

type AttemptTable = {
  job_id: JobId
  epoch: Epoch
  number: number
  gpu: GpuId
  claimed_at: Timestamp
  started_at: Timestamp | null
  generated_at: Timestamp | null
  ended_at: Timestamp | null
  outcome: 'success' | 'error' | 'canceled' | 'released' | null
  /** JSON, a Failure. */
  failure: string | null
  /** Unknown of attempts made before it was written down. */
  task: string | null
  gpu_model: string | null
  /** JSON, a Trace. */
  trace: string | null
  /** JSON, a list of arguments; null until the attempt starts. */
  command: string | null
  /** Null until the attempt starts, or unknown. */
  start: GenerationStartKind | null
  /** Lost with its node, and no process of it is left there. */
  accounted_at: Timestamp | null
}

/** One row. */
type ClockTable = {
  id: 1
  boot_id: string
  /** Since the boot. */
  boot_ms: number
  /** By `steadyNow` at the same moment. */
  steady_at: Timestamp
  /** By the wall clock at the same moment. */
  seen_at: Timestamp
  /** How much longer nothing is deleted by age. */
  held_ms: number
  held_because: Doubt | null
}

/** One row, in PostgreSQL only. */
type LeaderTable = {
  one: Generated<boolean>
  /** Larger with each leader. */
  term: number
  /** Name of the node that leads; empty: none does. */
  node: string
  /** That of its data directory, to know it again after a restart. */
  home: string
  /** Grows as long as it leads. */
  beat: number
  /** Number of the last commit of this term. */
  written: number
}

/** GPUs of all nodes, in PostgreSQL only. */
type NodeGpuTable = {
  id: GpuId
  node: NodeName
  device: string
  name: string | null
  uuid: string | null
  /** Id of the data directory of its machine; null: that of the next node of this name. */
  home: string | null
}

/** Images of open jobs, in PostgreSQL only: with SQLite they are in the work directory. */
type ImageTable = {
  job_id: JobId
  part: number
  bytes: Buffer
}

type EstimateTable = { job_id: JobId } & Omit<ToldEstimate, 'jobId'>
