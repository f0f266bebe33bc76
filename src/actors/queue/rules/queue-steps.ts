/** Small changes of the queue's state that several rules make. */
import type { Caused } from '../../../domain/client.ts'
import type { GpuHealth, GpuId, JobId } from '../../../domain/job.ts'
import { remove, set } from '../../ordered-map.ts'
import { withEnvironmentOn, withNode } from '../nodes.ts'
import type { QueueEffect } from '../queue-effects.ts'
import type { QueueOperation } from '../queue-ports.ts'
import type { QueueState, WaitingJob } from '../queue-state.ts'
import type { RunningJob } from '../running-jobs.ts'
import { attemptOver, forgetSuspect } from './environment-rules.ts'

export type QueueStep = readonly [QueueState, readonly QueueEffect[]]

export const stored = (operation: QueueOperation): QueueEffect => ({ do: 'store', operation })

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
  running: state.running.set(job),
})

/** The attempt is no longer the one that proves the environment. */
export const withoutProbe = (state: QueueState, job: RunningJob): QueueState =>
  withEnvironmentOn(state, job.gpu, (environment) => attemptOver(environment, job))

/** On every node that suspects it. */
export function withoutSuspect(state: QueueState, jobId: JobId): QueueState {
  let next = state
  for (const node of state.nodes.values()) {
    const environment = forgetSuspect(node.environment, jobId)
    if (environment !== node.environment) next = withNode(next, { ...node, environment })
  }
  return next
}

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

export function withHealth(
  state: QueueState,
  gpu: GpuId,
  health: GpuHealth,
  cause: Caused = {},
): QueueStep {
  return [
    { ...state, gpuHealth: new Map([...state.gpuHealth, [gpu, health]]) },
    [stored({ op: 'setGpuHealth', gpu, health }), { do: 'logGpu', gpu, health, ...cause }],
  ]
}
