/** Told times are held against what became true, and the interval is corrected by what that shows. */

import { type Checkpoint, checkpoints } from '../../domain/estimate.ts'
import type { IntervalVerdict } from '../../domain/observation.ts'
import type { EstimateOutcome } from './eta-ports.ts'
import type { CheckpointReview, EstimateReview } from './eta-protocol.ts'

/**
 * How many standard deviations from the told time its interval ends, on either side: what is off one
 * way now may be off the other way soon, as where GPUs grow hot and cool down.
 */
export type Calibrations = Readonly<Record<Checkpoint, number>>

/** How many of the latest outcomes of each checkpoint are gone by. */
const outcomesKept = 60

/** As if so many outcomes had gone by the book: a few real ones do not overthrow it. */
const byTheBook = [0.126, 0.253, 0.385, 0.524, 0.674, 0.842, 1.036, 1.282, 1.645, 2.2]

const most = 6
const least = 0.5

export function calibrate(outcomes: readonly EstimateOutcome[]): Calibrations {
  const at = (checkpoint: Checkpoint) => {
    const deviations = outcomes
      .filter((outcome) => outcome.checkpoint === checkpoint)
      .slice(-outcomesKept)
      .map((outcome) => Math.abs(deviationOf(outcome)))
      .filter(Number.isFinite)
    const sorted = [...byTheBook, ...deviations].sort((a, b) => a - b)
    return Math.max(least, Math.min(most, quantile(sorted, 0.8)))
  }
  return Object.fromEntries(checkpoints.map((one) => [one, at(one)])) as Calibrations
}

/** The checkpoint whose experience serves an attempt that has come so far. */
export const nearestCheckpoint = (progress: number): Checkpoint =>
  progress < 0.375 ? '25' : progress < 0.625 ? '50' : '75'

/** In standard deviations of what had been expected. */
const deviationOf = ({ actual, p50, spread }: EstimateOutcome): number =>
  Math.log(Math.max(0.1, actual) / Math.max(0.1, p50)) / Math.max(0.005, spread)

export function quantile(sorted: readonly number[], share: number): number {
  const at = (sorted.length - 1) * share
  const low = sorted[Math.floor(at)] ?? 0
  const high = sorted[Math.ceil(at)] ?? low
  return low + (high - low) * (at - Math.floor(at))
}

export function review(outcomes: readonly EstimateOutcome[]): EstimateReview {
  const jobs = new Set(outcomes.map(({ jobId }) => jobId))
  const [first] = outcomes
  return {
    jobs: jobs.size,
    ...(first && { since: first.at }),
    checkpoints: reviewEach(outcomes),
    gpus: new Map(
      [...Map.groupBy(outcomes, ({ gpu }) => gpu)].map(([gpu, own]) => [gpu, reviewEach(own)]),
    ),
  }
}

/** Of the time that was left; above 0: it took longer than told. */
export const offByPercent = ({ p50, actual }: EstimateOutcome): number =>
  ((actual - p50) / Math.max(0.1, actual)) * 100

export const intervalVerdict = ({ p10, p90, actual }: EstimateOutcome): IntervalVerdict =>
  actual < p10 ? 'early' : actual > p90 ? 'late' : 'within'

function reviewEach(outcomes: readonly EstimateOutcome[]) {
  const reviews = checkpoints.flatMap((checkpoint): [Checkpoint, CheckpointReview][] => {
    const those = outcomes.filter((outcome) => outcome.checkpoint === checkpoint)
    return those.length === 0 ? [] : [[checkpoint, reviewOf(those)]]
  })
  return Object.fromEntries(reviews)
}

function reviewOf(outcomes: readonly EstimateOutcome[]): CheckpointReview {
  const off = outcomes.map(offByPercent)
  const within = outcomes.filter((outcome) => intervalVerdict(outcome) === 'within')
  const middle = (values: readonly number[]) =>
    quantile(
      values.toSorted((a, b) => a - b),
      0.5,
    )
  return {
    estimates: outcomes.length,
    meanErrorPercent: mean(off.map(Math.abs)),
    medianErrorPercent: middle(off.map(Math.abs)),
    biasPercent: mean(off),
    withinPercent: (within.length / outcomes.length) * 100,
    medianErrorSeconds: middle(outcomes.map(({ p50, actual }) => Math.abs(actual - p50))),
  }
}

const mean = (values: readonly number[]): number =>
  values.reduce((sum, value) => sum + value, 0) / values.length
