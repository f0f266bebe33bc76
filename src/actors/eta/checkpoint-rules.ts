/** Which estimates are kept, so that they can be compared with the outcome. */

import type { Checkpoint, ToldEstimate } from '../../domain/estimate.ts'
import type { JobId, Timestamp } from '../../domain/job.ts'
import { get, remove, set, values, valuesFrom } from '../ordered-map.ts'
import type { RunningJob } from '../queue/running-jobs.ts'
import { type Estimator, estimateJob, progressOfRunning } from './estimator.ts'
import type { EtaState, EtaStep } from './eta-state.ts'
import type { Told } from './told.ts'

/** Number of jobs that one check searches for ended ones. */
const maxSearched = 1_000

/** Progress from which a running job is at a checkpoint. */
const shares: readonly (readonly [Checkpoint, number])[] = [
  ['25', 0.25],
  ['50', 0.5],
  ['75', 0.75],
]

/**
 * Keeps the estimate of each new job, and of each running job that reaches a checkpoint. Jobs that
 * the first look finds have been submitted before it: their `submit` estimate is not kept. `jobs`:
 * the running jobs to look at.
 */
export function check(
  state: EtaState,
  now: Timestamp,
  jobs: Iterable<RunningJob> = state.estimator.queue?.running.values() ?? [],
): EtaState {
  const { queue } = state.estimator
  if (!queue) return state
  const isFirstLook = state.lastSeq === undefined
  let lastSeq = state.lastSeq ?? -1
  const from = lastSeq + 1
  const draft: Draft = { estimator: state.estimator, told: state.told, kept: [] }
  for (const { jobId, seq } of valuesFrom(queue.waiting, from)) {
    if (!isFirstLook) keep(draft, jobId, 'submit', now)
    lastSeq = seq
  }
  for (const job of jobs) {
    const { jobId, seq, attempts } = job
    if (!isFirstLook && seq >= from) keep(draft, jobId, 'submit', now)
    lastSeq = Math.max(seq, lastSeq)
    // No estimate foresees that an attempt fails: a second one is not judged.
    if (attempts === 1) keepReached(draft, job, now)
  }
  const { estimator, told, kept } = draft
  const unwritten = kept.length > 0 ? [...state.unwritten, ...kept] : state.unwritten
  return { ...state, estimator, told, unwritten, lastSeq }
}

/** Writes all estimates since the last write together, with the times of the wall clock. */
export function write(state: EtaState, shiftMs: number): EtaStep {
  if (state.unwritten.length === 0) return [state, []]
  const estimates = state.unwritten.map((one) => ({ ...one, at: one.at + shiftMs }))
  return [{ ...state, unwritten: [] }, [{ do: 'record', estimates }]]
}

/**
 * Forgets the jobs that have ended without a video. A check searches only a part of a long queue,
 * because a search of 100,000 jobs blocks the process for 150 ms.
 */
export function forget(state: EtaState): EtaState {
  const { estimator, told, forgetFrom: from } = state
  const { queue } = estimator
  if (!queue) return state
  let left = told
  let jobs = 0
  let forgetFrom: JobId | undefined
  for (const [first] of from === undefined ? values(told) : valuesFrom(told, from)) {
    if (!first) continue
    const { jobId } = first
    if (jobs === maxSearched) {
      forgetFrom = jobId
      break
    }
    jobs += 1
    const isOpen = queue.running.has(jobId) || get(queue.seqOf, jobId) !== undefined
    if (!isOpen) left = remove(left, jobId)
  }
  return { ...state, told: left, forgetFrom }
}

/** Copies that one call of `check` owns and changes. */
type Draft = { estimator: Estimator; told: EtaState['told']; kept: ToldEstimate[] }

function keepReached(draft: Draft, job: RunningJob, now: Timestamp): void {
  const [estimator, progress] = progressOfRunning(draft.estimator, job, now)
  draft.estimator = estimator
  const reached = shares.findLast(([, share]) => progress >= share)?.[0]
  if (reached) keep(draft, job.jobId, reached, now)
}

function keep(draft: Draft, jobId: JobId, checkpoint: Checkpoint, at: Timestamp): void {
  const ofJob = get(draft.told, jobId) ?? []
  if (ofJob.some((one) => one.checkpoint === checkpoint)) return
  const estimate = look(draft, jobId, at)
  if (!estimate) return
  const { etaAt: _, progress: __, ...rest } = estimate
  const kept = { jobId, checkpoint, at, ...rest }
  draft.told = set(draft.told, jobId, [...ofJob, kept])
  draft.kept.push(kept)
}

function look(draft: Draft, jobId: JobId, now: Timestamp): Told | undefined {
  const [estimator, estimate] = estimateJob(draft.estimator, jobId, now)
  draft.estimator = estimator
  return estimate
}
