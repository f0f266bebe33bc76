/** Which estimates are kept, so that they can be compared with the outcome. */

import type { Checkpoint } from '../../domain/estimate.ts'
import type { JobId, Timestamp } from '../../domain/job.ts'
import { get, remove, set, values, valuesFrom } from '../ordered-map.ts'
import { tell } from './estimator.ts'
import type { EtaState, EtaStep } from './eta-state.ts'

const forgetEveryTicks = 60

/** Progress from which a running job is at a checkpoint. */
const shares: readonly (readonly [Checkpoint, number])[] = [
  ['25', 0.25],
  ['50', 0.5],
  ['75', 0.75],
]

/**
 * Keeps the estimate of each new job, and of each running job that reaches a checkpoint. Jobs that
 * the first look finds have been submitted before it: their `submit` estimate is not kept.
 */
export function check(state: EtaState, now: Timestamp): EtaState {
  const { queue } = state.estimator
  if (!queue) return state
  const isFirstLook = state.lastSeq === undefined
  let lastSeq = state.lastSeq ?? -1
  const from = lastSeq + 1
  let next = state
  for (const { jobId, seq } of valuesFrom(queue.waiting, from)) {
    if (!isFirstLook) next = keep(next, jobId, 'submit', now)
    lastSeq = seq
  }
  for (const { jobId, seq, attempts } of queue.running.values()) {
    if (!isFirstLook && seq >= from) next = keep(next, jobId, 'submit', now)
    lastSeq = Math.max(seq, lastSeq)
    // No estimate foresees that an attempt fails: a second one is not judged.
    if (attempts === 1) next = keepReached(next, jobId, now)
  }
  return { ...next, lastSeq }
}

/** Writes all estimates since the last time together; a failure costs no job. */
export const write = (state: EtaState): EtaStep =>
  state.unwritten.length === 0
    ? [state, []]
    : [{ ...state, unwritten: [] }, [{ do: 'record', estimates: state.unwritten }]]

/** Once a minute, forgets the jobs that have ended without a video. */
export function forget(state: EtaState): EtaState {
  const { estimator, told } = state
  const { queue } = estimator
  if (!queue) return state
  const ticks = state.ticks + 1
  if (ticks % forgetEveryTicks !== 0) return { ...state, ticks }
  let left = told
  for (const [first] of values(told)) {
    if (!first) continue
    const { jobId } = first
    const isOpen = queue.running.has(jobId) || get(queue.seqOf, jobId) !== undefined
    if (!isOpen) left = remove(left, jobId)
  }
  return { ...state, ticks, told: left }
}

function keepReached(state: EtaState, jobId: JobId, now: Timestamp): EtaState {
  const [estimator, estimate] = tell(state.estimator, jobId, now)
  const progress = estimate?.progress ?? 0
  const reached = shares.findLast(([, share]) => progress >= share)?.[0]
  const looked = { ...state, estimator }
  return reached ? keep(looked, jobId, reached, now) : looked
}

function keep(state: EtaState, jobId: JobId, checkpoint: Checkpoint, at: Timestamp): EtaState {
  const ofJob = get(state.told, jobId) ?? []
  if (ofJob.some((one) => one.checkpoint === checkpoint)) return state
  const [estimator, estimate] = tell(state.estimator, jobId, at)
  if (!estimate) return { ...state, estimator }
  const { etaAt: _, progress: __, ...rest } = estimate
  const kept = { jobId, checkpoint, at, ...rest }
  return {
    ...state,
    estimator,
    told: set(state.told, jobId, [...ofJob, kept]),
    unwritten: [...state.unwritten, kept],
  }
}
