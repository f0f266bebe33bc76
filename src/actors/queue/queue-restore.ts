/** The queue as a start finds it in the store. */
import { nameKey } from '../../domain/filename.ts'
import { type GpuId, type Job, shapeOf } from '../../domain/job.ts'
import type { NodeName } from '../../domain/node.ts'
import { fromSorted } from '../ordered-map.ts'
import { lostAttempts } from './lost-attempts.ts'
import { newNode } from './nodes.ts'
import type { StoredQueue, StoredWaiting } from './queue-ports.ts'
import {
  healthOf,
  noneRecent,
  type QueueSettings,
  type QueueState,
  type WaitingJob,
} from './queue-state.ts'
import { type RunningJob, RunningJobs } from './running-jobs.ts'

/** The queue as the store remembers it. Running jobs wait for their GPU or for the converter to report. */
export function restoreQueue(
  settings: QueueSettings,
  stored: StoredQueue,
  placeOf: (gpu: GpuId) => NodeName | undefined = () => undefined,
): QueueState {
  // Jobs of earlier versions may have names that are one by now. The first of them holds it.
  const names = new Map(
    [...stored.waiting, ...stored.running]
      .flatMap(({ id, request }) =>
        request.filename ? [[nameKey(request.filename), id] as const] : [],
      )
      .reverse(),
  )
  const named = [...names].sort(([a], [b]) => (a < b ? -1 : 1))
  return {
    settings: pickSettings(settings),
    open: true,
    ...nodesOf(settings, stored, placeOf),
    gpus: settings.gpus,
    lost: lostAttempts(stored.lost),
    nextSeq: stored.nextSeq,
    nextTicket: 1,
    waiting: fromSorted(stored.waiting.map((job) => [job.seq, toWaiting(job)] as const)),
    seqOf: fromSorted(
      stored.waiting.map(({ id, seq }) => [id, seq] as const).sort(([a], [b]) => (a < b ? -1 : 1)),
    ),
    running: RunningJobs.of(stored.running.flatMap(toRunning), settings.gpus),
    names: fromSorted(named),
    reserved: undefined,
    submissions: stored.submissions,
    recent: noneRecent,
    readyGpus: new Map(),
    givenUpGpus: new Set(),
    gpuHealth: healthOfGpus(settings, stored),
    drainedNodes: stored.drainedNodes,
    expectedProbes: new Map(),
    secondsPerJob: new Map(),
    loadSeconds: new Map(),
    tickets: new Map(),
  }
}

/** Nodes that have not joined yet are waited for, if jobs run there or did when they were lost. */
function nodesOf(
  settings: QueueSettings,
  { running, lost }: StoredQueue,
  placeOf: (gpu: GpuId) => NodeName | undefined,
): Pick<QueueState, 'nodes' | 'nodeOf'> {
  const nodes = new Map([[settings.node, newNode({ name: settings.node, ...settings })]])
  const nodeOf = new Map(settings.gpus.map((gpu) => [gpu, settings.node]))
  const used = [
    ...running.flatMap(({ state }) => ('gpu' in state ? (state.gpu ?? []) : [])),
    ...lost.map(({ gpu }) => gpu),
  ]
  for (const gpu of used) {
    if (nodeOf.has(gpu)) continue
    const name = placeOf(gpu) ?? settings.node
    nodeOf.set(gpu, name)
    if (nodes.has(name)) continue
    const node = newNode({ name, gpus: [], maxConcurrentLoads: 1 })
    nodes.set(name, { ...node, presence: 'left' })
  }
  return { nodes, nodeOf }
}

/** The first node may have been started with more GPUs than it had when it was drained. */
function healthOfGpus(
  { node, gpus }: QueueSettings,
  { gpus: stored, drainedNodes }: StoredQueue,
): QueueState['gpuHealth'] {
  if (!drainedNodes.has(node)) return stored
  const drained = gpus.map(
    (gpu) => [gpu, { ...healthOf({ gpuHealth: stored }, gpu), drained: true }] as const,
  )
  return new Map([...stored, ...drained])
}

/** Picks the settings of the queue: a configuration has more, and some are secret. */
const pickSettings = (settings: QueueSettings): QueueSettings => ({
  node: settings.node,
  gpus: settings.gpus,
  maxAttempts: settings.maxAttempts,
  maxQueue: settings.maxQueue,
  jobsPerHour: settings.jobsPerHour,
  maxConcurrentLoads: settings.maxConcurrentLoads,
  orphanPolicy: settings.orphanPolicy,
  quarantineAfter: settings.quarantineAfter,
  quarantineMs: settings.quarantineMs,
  cancelWaitMs: settings.cancelWaitMs,
})

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
      isRestored: true,
      ...(requestedFilename && { requestedFilename }),
    },
  ]
}
