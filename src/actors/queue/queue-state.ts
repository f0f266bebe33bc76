/** The state of the queue, and what can be read from it. The rules that change it are beside. */
import type { Caused, Scope } from '../../domain/client.ts'
import type { Epoch, GpuHealth, GpuId, JobId, Shape, Timestamp } from '../../domain/job.ts'
import type { NodeName } from '../../domain/node.ts'
import type { ActorRef } from '../actor.ts'
import { get, type OrderedMap, rank } from '../ordered-map.ts'
import type { LostAttempts } from './lost-attempts.ts'
import { nodeNameOf, type QueueNode } from './nodes.ts'
import type { Earlier, PastSubmission } from './queue-ports.ts'
import type { CancelAnswer, CloseMode, GpuUse, SubmitAnswer } from './queue-protocol.ts'
import { isLoading, type RunningJobs } from './running-jobs.ts'

export type QueueState = Readonly<{
  settings: QueueSettings
  open: boolean
  /** Somebody waits for the end of what runs. */
  closing?: Readonly<{ mode: CloseMode; replyTo: ActorRef<'closed'> }>
  /** In the order in which they joined; the first is that of the settings. */
  nodes: ReadonlyMap<NodeName, QueueNode>
  /** Node of each GPU, and of former GPUs whose generation continues. */
  nodeOf: ReadonlyMap<GpuId, NodeName>
  /** Attempts on lost nodes, until the nodes return or are removed. */
  lost: LostAttempts
  /** GPUs that get jobs: those of all nodes that are not lost, in ascending order. */
  gpus: readonly GpuId[]
  nextSeq: number
  nextTicket: number
  /** In the order of submission, which is the order of the queue. */
  waiting: OrderedMap<number, WaitingJob>
  seqOf: OrderedMap<JobId, number>
  running: RunningJobs
  /** Names asked for by waiting and running jobs (rules/name-rules.ts). */
  names: OrderedMap<string, JobId>
  /** Names reserved by submissions that are being prepared (rules/name-rules.ts). */
  reserved: OrderedMap<string, ActorRef<SubmitAnswer>>
  /** What counts against JOBS_PER_HOUR, oldest first. */
  submissions: readonly PastSubmission[]
  /** What was submitted just now, to know it again. */
  recent: RecentSubmissions
  /** Which incarnation is there for work on each GPU. */
  readyGpus: ReadonlyMap<GpuId, string>
  /** Their generations are heard of no more, and must not hold up the others. */
  givenUpGpus: ReadonlySet<GpuId>
  gpuHealth: ReadonlyMap<GpuId, GpuHealth>
  /** All GPUs of these nodes are drained, also those that are added later. */
  drainedNodes: ReadonlySet<NodeName>
  /** Quarantines whose timer runs, by their begin. */
  expectedProbes: ReadonlyMap<GpuId, Timestamp>
  secondsPerJob: ReadonlyMap<GpuId, number>
  /** How long a load usually takes at most. */
  loadSeconds: ReadonlyMap<GpuId, number>
  tickets: ReadonlyMap<number, CancelTicket>
}>

/** Somebody waits to hear that these jobs are canceled. */
export type CancelTicket = Readonly<{
  replyTo: ActorRef<CancelAnswer>
  scope: Scope
  cause: Caused
  selected: readonly JobId[]
  /** Index of the first selected job that no commit has dealt with. */
  next: number
  waitingFor: ReadonlySet<JobId>
  canceled: readonly JobId[]
  rest: readonly JobId[]
}>

/** What others may see of the queue: it never changes, so it is handed over as it is. */
export type QueueSnapshot = Pick<
  QueueState,
  | 'settings'
  | 'nodes'
  | 'nodeOf'
  | 'gpus'
  | 'waiting'
  | 'seqOf'
  | 'running'
  | 'readyGpus'
  | 'givenUpGpus'
  | 'gpuHealth'
>

export type QueueSettings = Readonly<{
  /** The first node, with its GPUs and how many loads it takes at once. */
  node: NodeName
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

/** Two generations, of which the older is forgotten as a whole. */
export type RecentSubmissions = Readonly<{
  young: OrderedMap<string, Recent>
  old: OrderedMap<string, Recent>
  /** When the younger one was begun. */
  since: Timestamp
}>

type Recent = Earlier & Readonly<{ at: Timestamp }>

export const noneRecent: RecentSubmissions = { young: undefined, old: undefined, since: 0 }

const wellHealth: GpuHealth = { drained: false, failures: [] }

export const healthOf = ({ gpuHealth }: Pick<QueueState, 'gpuHealth'>, gpu: GpuId): GpuHealth =>
  gpuHealth.get(gpu) ?? wellHealth

/** Neither drained nor in quarantine: it may be given jobs. */
export function isTrusted(state: Pick<QueueState, 'gpuHealth'>, gpu: GpuId): boolean {
  const { drained, quarantine } = healthOf(state, gpu)
  return !drained && (quarantine === undefined || quarantine.probing)
}

/** A process of an attempt there survives SIGKILL, and no operator has resumed the GPU since. */
export const isUnkillable = (state: Pick<QueueState, 'gpuHealth'>, gpu: GpuId): boolean =>
  healthOf(state, gpu).quarantine?.reason === 'unkillable'

/** Its actor is there as well: it may be given a job now, or after the one it has. */
export const isUsable = (state: Pick<QueueState, 'gpuHealth' | 'readyGpus'>, gpu: GpuId): boolean =>
  state.readyGpus.has(gpu) && isTrusted(state, gpu)

export function gpuUse(state: QueueState, gpu: GpuId): GpuUse {
  const job = state.running.on(gpu)
  return {
    gpu,
    node: nodeNameOf(state, gpu),
    ready: state.readyGpus.has(gpu),
    health: healthOf(state, gpu),
    ...(job && { jobId: job.jobId }),
    ...(job?.start && { start: job.start }),
    ...(job?.reading && { reading: job.reading }),
    loadsUnusuallyLong: job !== undefined && isLoading(job) && job.isLoadOverdue === true,
  }
}

/** What others may not know yet is never shown: 1 is the job that is claimed next. */
export function positionOf(
  state: Pick<QueueState, 'waiting' | 'seqOf'>,
  jobId: JobId,
): number | undefined {
  const seq = get(state.seqOf, jobId)
  return seq === undefined ? undefined : rank(state.waiting, seq) + 1
}

export function waitingJob(state: QueueState, jobId: JobId): WaitingJob | undefined {
  const seq = get(state.seqOf, jobId)
  return seq === undefined ? undefined : get(state.waiting, seq)
}
