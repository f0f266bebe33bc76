/** Knowledge from past attempts and past estimates. */

import type { GpuId, Timestamp } from '../../domain/job.ts'
import { type Calibrations, calibrate } from './calibration.ts'
import type { EstimateOutcome, PastAttempt } from './eta-ports.ts'
import {
  attemptsKept,
  learn,
  onGpu,
  type SpeedModel,
  type SpeedModelOptions,
} from './speed-model.ts'

export type Knowledge = Readonly<{
  options: SpeedModelOptions
  /** Latest warm and cold attempts of each GPU, the oldest first. */
  past: readonly PastAttempt[]
  outcomes: readonly EstimateOutcome[]
  model: SpeedModel
  calibrations: Calibrations
  /** Number of attempts in `past` that the model does not know yet. */
  unlearned: number
  learnedAt: number
}>

const maxOutcomes = 500

/** So few attempts may be learned from at once, more only so often. */
const learnedAtOnce = 20
const learnEveryMs = 1_000
/**
 * Time between two models for each attempt and each GPU. A model, with the plans of all GPUs, takes some 0.1 ms for each
 * of them, so learning takes half a percent of the time at most.
 */
const learnEveryMsEach = 20

/** Attempts of all GPUs together: more of them make no better model, but block the process longer. */
const maxPast = 2_000

export const knowNothing = (options: SpeedModelOptions): Knowledge => ({
  options,
  past: [],
  outcomes: [],
  model: learn([], options),
  calibrations: calibrate([]),
  unlearned: 0,
  learnedAt: Number.NEGATIVE_INFINITY,
})

export function remember(
  knowledge: Knowledge,
  attempts: readonly PastAttempt[],
  known: readonly EstimateOutcome[],
): Knowledge {
  const outcomes = [...knowledge.outcomes, ...known].slice(-maxOutcomes)
  return {
    ...knowledge,
    past: trim([...knowledge.past, ...attempts].sort((a, b) => a.endedAt - b.endedAt)),
    outcomes,
    calibrations: calibrate(outcomes),
    unlearned: knowledge.unlearned + attempts.length,
  }
}

/** Returns the same object if there is nothing new, or if it is too early to learn again. */
export function learnIfDue(knowledge: Knowledge, now: Timestamp): Knowledge {
  const { past, options, unlearned, learnedAt } = knowledge
  const everyMs = Math.max(learnEveryMs, (past.length + options.kinds.size) * learnEveryMsEach)
  const isDue = unlearned > 0 && (past.length < learnedAtOnce || now - learnedAt > everyMs)
  if (!isDue) return knowledge
  return { ...knowledge, model: learn(past, options), unlearned: 0, learnedAt: now }
}

/** How long each GPU is taken by the usual video, if anything is known of any. */
export function secondsPerJob({ model, options }: Knowledge): ReadonlyMap<GpuId, number> {
  const gpus = model.isLearned ? [...options.kinds.keys()] : []
  return new Map(
    gpus.map((gpu) => [gpu, onGpu(model.plan(gpu, options.defaults.usual, 'fromMemory')).median]),
  )
}

/** How long a load takes at most as a rule: of a cold start, with the model's files in memory or without them. */
export const loadSeconds = ({ model, options }: Knowledge): ReadonlyMap<GpuId, number> =>
  new Map(
    [...options.kinds.keys()].map((gpu) => {
      const loads = ['fromDisk', 'fromMemory'] as const
      const plans = loads.map((load) => model.plan(gpu, options.defaults.usual, load))
      return [gpu, Math.max(...plans.map(({ loading }) => loading.median))]
    }),
  )

/** The latest warm and the latest cold ones of each GPU. */
function trim(past: readonly PastAttempt[]): readonly PastAttempt[] {
  const counts = new Map<string, number>()
  const keyOf = ({ gpu, start = 'cold' }: PastAttempt) => `${gpu} ${start}`
  const keys = new Set(past.map(keyOf))
  const kept = Math.max(1, Math.min(attemptsKept, Math.floor(maxPast / keys.size)))
  return past
    .toReversed()
    .filter((attempt) => {
      const key = keyOf(attempt)
      const count = (counts.get(key) ?? 0) + 1
      counts.set(key, count)
      return count <= kept
    })
    .reverse()
}
