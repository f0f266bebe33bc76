/** What is left of an attempt that runs, and how far it has come. */
import { type GenerationStage, type Stage, stages, type Timestamp } from '../../domain/job.ts'
import { clamp } from '../../domain/time.ts'
import type { RunningJob } from '../queue/running-jobs.ts'
import {
  type Duration,
  nothingLeft,
  type Outlook,
  plus,
  remaining,
  slower,
  whole,
} from './duration.ts'
import type { Plan } from './published-speeds.ts'

export type RunningAttempt = Pick<
  RunningJob,
  'phase' | 'claimedAt' | 'generatedAt' | 'reading' | 'shape'
>

/** From now until the video is there, and until the GPU is free. */
export function outlookOf(
  job: RunningAttempt,
  plan: Plan,
  now: Timestamp,
): Readonly<{ video: Outlook; gpu: Outlook; load: Outlook }> {
  const { stage, began } = whereIs(job, plan)
  const elapsed = Math.max(0, now - began) / 1000
  const here = paced(plan, job)
  const left =
    stage === 'denoising' ? steppingOn(job, here, now, elapsed) : remaining(here[stage], elapsed)
  const generating = stages.slice(stages.indexOf(stage) + 1, -1).map((later) => whole(here[later]))
  const gpu = stage === 'converting' ? nothingLeft : generating.reduce(plus, left)
  const video = stage === 'converting' ? left : plus(gpu, whole(here.converting))
  return { video, gpu, load: stage === 'loading' ? left : nothingLeft }
}

/** Where it is, and since when; what was not seen is taken from the plan. */
function whereIs(
  { phase, claimedAt, generatedAt, reading }: RunningAttempt,
  plan: Plan,
): { stage: Stage; began: Timestamp } {
  if (phase === 'converting') return { stage: 'converting', began: generatedAt ?? claimedAt }
  if (!reading || reading.stage === 'loading') return { stage: 'loading', began: claimedAt }
  const { stage, began = {} } = reading
  return { stage, began: began[stage] ?? assumedBegin(stage, claimedAt, began, plan) }
}

function assumedBegin(
  stage: GenerationStage,
  claimedAt: Timestamp,
  began: NonNullable<RunningJob['reading']>['began'] & {},
  plan: Plan,
): Timestamp {
  const before = stages.slice(0, stages.indexOf(stage))
  return before.reduce((at, one) => {
    const seen = one === 'converting' ? undefined : began[one]
    return (one === 'loading' ? claimedAt : (seen ?? at)) + plan[one].median * 1000
  }, claimedAt)
}

/**
 * The plan as this very run keeps to it. A GPU that samples slower than it used to (it is hot, or
 * shared) decodes and saves slower as well, if not quite as much.
 */
function paced(plan: Plan, job: RunningAttempt): Plan {
  const own = ownStep(job, plan)
  if (own === undefined) return plan
  const factor = clamp(own.median / (plan.denoising.median / job.shape.steps), 0.25, 4)
  const alike = factor ** 0.7
  return { ...plan, decoding: slower(plan.decoding, alike), saving: slower(plan.saving, alike) }
}

/** The first step is often much slower than the others, and tells next to nothing of them. */
const firstStepVariance = 0.8 ** 2

/** One step of this run: the more of them have been seen, the less the past has to say. */
function ownStep({ reading, shape }: RunningAttempt, plan: Plan): Duration | undefined {
  const seen = reading?.secondsPerStep
  if (!(seen && seen > 0)) return undefined
  const steps = Math.min(8, (reading.step ?? shape.steps) - 1)
  const past = Math.log(plan.denoising.median / shape.steps)
  // The past is the less to be believed the more this run contradicts it.
  const pastVariance =
    plan.denoising.spread ** 2 + plan.denoising.doubt ** 2 + ((Math.log(seen) - past) / 2) ** 2
  const ownVariance = steps > 0 ? 0.06 ** 2 / steps : firstStepVariance
  const share = pastVariance / (pastVariance + ownVariance)
  return {
    median: Math.exp(past + share * (Math.log(seen) - past)),
    // Few steps tell little about whether the pace will be kept.
    spread: Math.hypot(Math.sqrt(share * ownVariance), 0.02),
    doubt: 0,
  }
}

function steppingOn(job: RunningAttempt, plan: Plan, now: Timestamp, elapsed: number): Outlook {
  const { reading, shape } = job
  const total = stepsOf(job)
  const done = clamp(reading?.step ?? 0, 0, total)
  if (done === total) return nothingLeft
  const step = ownStep(job, plan) ?? slower(plan.denoising, 1 / shape.steps)
  const since = reading?.steppedAt ? Math.max(0, now - reading.steppedAt) / 1000 : elapsed
  // Steps of one run differ little from each other, but for the first.
  const present = remaining({ ...step, spread: done === 0 ? 0.3 : 0.1 }, since)
  return plus(present, whole(slower(step, total - done - 1)))
}

/**
 * How far it has come, in time as planned at the claim: from 0 to below 1. Nothing but the reading
 * and the clock moves it, and neither goes back; so it does not either, whoever asks, also after a
 * restart.
 */
export function progressOf(job: RunningAttempt, plan: Plan, now: Timestamp): number {
  const { stage, began } = whereIs(job, plan)
  const usual = (one: Stage) => plan[one].median
  const sum = (these: readonly Stage[]) => these.reduce((total, one) => total + usual(one), 0)
  const elapsed = Math.max(0, now - began) / 1000
  const share =
    stage === 'denoising' ? steppedShare(job, plan, now) : easing(elapsed / usual(stage))
  const done = sum(stages.slice(0, stages.indexOf(stage))) + share * usual(stage)
  return Math.min(0.999, Math.floor((done / sum(stages)) * 10_000) / 10_000)
}

/** Between two steps it goes on as fast as the steps before. */
function steppedShare(job: RunningAttempt, plan: Plan, now: Timestamp): number {
  const { reading, shape } = job
  const pace = reading?.secondsPerStep || plan.denoising.median / shape.steps
  const since = Math.max(0, now - (reading?.steppedAt ?? reading?.began?.denoising ?? now)) / 1000
  return clamp(((reading?.step ?? 0) + Math.min(0.95, easing(since / pace))) / stepsOf(job), 0, 1)
}

/** A bar may say that it counts to nothing; what was asked for still has to be done then. */
const stepsOf = ({ reading, shape }: RunningAttempt): number => reading?.totalSteps || shape.steps

/** In time as long as all goes as usual; slower and slower, and never done, when it takes longer. */
const easing = (share: number): number =>
  share < 0.8 ? share : 1 - 0.2 * Math.exp((0.8 - share) / 0.2)
