/** The state of the queue: how it is restored, looked at and changed. The rules are in the files beside. */
import { type GpuHealth, type GpuId, type Job, type JobId, shapeOf } from '../../domain/job.ts'
import { fromSorted, get, rank, remove, set } from '../ordered-map.ts'
import type { StoredQueue, StoredWaiting } from './queue-ports.ts'
import type {
  GpuUse,
  QueueEffect,
  QueueSettings,
  QueueState,
  RunningJob,
  WaitingJob,
} from './queue-protocol.ts'
import { noneRecent } from './repeat-rules.ts'

export type QueueStep = readonly [QueueState, readonly QueueEffect[]]

/** The queue as the store remembers it. Running jobs wait for their GPU or for the converter to report. */
export function restoreQueue(settings: QueueSettings, stored: StoredQueue): QueueState {
  const named = [...stored.waiting, ...stored.running]
    .flatMap(({ id, request }) =>
      request.filename ? [[nameKey(request.filename), id] as const] : [],
    )
    .sort(([a], [b]) => (a < b ? -1 : 1))
  return {
    settings,
    open: true,
    hasRoom: true,
    nextSeq: stored.nextSeq,
    nextTicket: 1,
    waiting: fromSorted(stored.waiting.map((job) => [job.seq, toWaiting(job)] as const)),
    seqOf: fromSorted(
      stored.waiting.map(({ id, seq }) => [id, seq] as const).sort(([a], [b]) => (a < b ? -1 : 1)),
    ),
    running: new Map(stored.running.flatMap(toRunning).map((job) => [job.jobId, job])),
    names: fromSorted(named),
    submissions: stored.submissions,
    recent: noneRecent,
    readyGpus: new Map(),
    givenUpGpus: new Set(),
    gpuHealth: stored.gpus,
    secondsPerJob: new Map(),
    tickets: new Map(),
    expiring: new Set(),
  }
}

const wellHealth: GpuHealth = { drained: false, failures: [] }

export const healthOf = ({ gpuHealth }: Pick<QueueState, 'gpuHealth'>, gpu: GpuId): GpuHealth =>
  gpuHealth.get(gpu) ?? wellHealth

/** Neither drained nor in quarantine: it may be given jobs. */
export function isTrusted(state: Pick<QueueState, 'gpuHealth'>, gpu: GpuId): boolean {
  const { drained, quarantine } = healthOf(state, gpu)
  return !drained && (quarantine === undefined || quarantine.probing)
}

/** Its actor is there as well: it may be given a job now, or after the one it has. */
export const isUsable = (state: Pick<QueueState, 'gpuHealth' | 'readyGpus'>, gpu: GpuId): boolean =>
  state.readyGpus.has(gpu) && isTrusted(state, gpu)

export function gpuUse(state: QueueState, gpu: GpuId): GpuUse {
  const job = generatingOn(state, gpu)
  return {
    gpu,
    ready: state.readyGpus.has(gpu),
    health: healthOf(state, gpu),
    ...(job && { jobId: job.jobId }),
    ...(job?.reading && { reading: job.reading }),
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

export const generatingOn = ({ running }: QueueState, gpu: GpuId): RunningJob | undefined =>
  [...running.values()].find((job) => job.gpu === gpu && job.phase === 'generating')

export const gpusAtWork = ({ running }: QueueState): ReadonlySet<GpuId> =>
  new Set([...running.values()].flatMap(({ gpu, phase }) => (phase === 'generating' ? [gpu] : [])))

/** Names that differ only in case would be one file on the disks of some who download them. */
export const nameKey = (filename: string): string => filename.toLowerCase()

export const stored = (
  operation: Extract<QueueEffect, { do: 'store' }>['operation'],
): QueueEffect => ({
  do: 'store',
  operation,
})

export const enqueue = (state: QueueState, job: WaitingJob): QueueState => ({
  ...state,
  waiting: set(state.waiting, job.seq, job),
  seqOf: set(state.seqOf, job.jobId, job.seq),
})

export const dequeue = (state: QueueState, jobId: JobId, seq: number): QueueState => ({
  ...state,
  waiting: remove(state.waiting, seq),
  seqOf: remove(state.seqOf, jobId),
})

export const withRunning = (state: QueueState, job: RunningJob): QueueState => ({
  ...state,
  running: new Map([...state.running, [job.jobId, job]]),
})

export const forgetName = (state: QueueState, filename: string | undefined): QueueState =>
  filename ? { ...state, names: remove(state.names, nameKey(filename)) } : state

export const withoutGpu = (state: QueueState, gpu: GpuId): QueueState => ({
  ...state,
  readyGpus: withoutKey(state.readyGpus, gpu),
})

export function withoutKey<K, V>(map: ReadonlyMap<K, V>, key: K): ReadonlyMap<K, V> {
  const rest = new Map(map)
  rest.delete(key)
  return rest
}

export function without<T>(set: ReadonlySet<T>, item: T): ReadonlySet<T> {
  const rest = new Set(set)
  rest.delete(item)
  return rest
}

const toWaiting = ({
  id,
  owner,
  seq,
  submittedAt,
  epoch,
  attempts,
  request,
}: StoredWaiting): WaitingJob => ({
  jobId: id,
  owner,
  seq,
  submittedAt,
  epoch,
  attempts,
  shape: shapeOf(request),
  ...(request.filename && { filename: request.filename }),
})

function toRunning(job: Job): RunningJob[] {
  const { id, owner, seq, submittedAt, epoch, attempts, request, state } = job
  if (state.status !== 'running') return []
  const { status: _, ...running } = state
  const { filename: requestedFilename } = request
  return [
    {
      jobId: id,
      owner,
      seq,
      submittedAt,
      epoch,
      attempts,
      shape: shapeOf(request),
      ...running,
      ...(requestedFilename && { requestedFilename }),
    },
  ]
}
