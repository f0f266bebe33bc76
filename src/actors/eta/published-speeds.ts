/** What is assumed of a stage before any attempt has taught better. */
import { type GenerationStartKind, type Shape, type Stage, stages } from '../../domain/job.ts'
import type { WanTask } from '../../domain/wan-tasks.ts'
import type { Duration } from './duration.ts'

/** How long each stage of an attempt is expected to take. */
export type Plan = Readonly<Record<Stage, Duration>>

/**
 * Shares of a run of the usual length on one GPU: loads of 55 to 200 s, 87 % of the rest in the
 * sampling bar (measured phases of real runs, facts: §2.4), and 3 s of conversion (§10).
 */
const shares: Readonly<Record<Exclude<Stage, 'converting'>, number>> = {
  loading: 0.13,
  encoding: 0.02,
  denoising: 0.74,
  decoding: 0.1,
  saving: 0.01,
}
const conversionSeconds = 5

/** Nobody knows this machine yet. */
const doubt = 0.5
const spread = 0.15

export type Defaults = Readonly<{
  /** Of the task's usual video, from its claim until its GPU is free. */
  seconds(kind: string | undefined): number
  usual: Shape
}>

export function defaultPlan(
  kind: string | undefined,
  shape: Shape,
  defaults: Defaults,
  start: GenerationStartKind = 'cold',
): Plan {
  const whole = defaults.seconds(kind)
  return planOf((stage) => {
    const most = stage === 'converting' ? conversionSeconds : whole * shares[stage]
    const work = unitsOf(stage, shape, start) / unitsOf(stage, defaults.usual)
    return { median: most * work, spread, doubt }
  })
}

export const planOf = (duration: (stage: Stage) => Duration): Plan =>
  Object.fromEntries(stages.map((stage) => [stage, duration(stage)])) as Plan

/** README of Wan2.2: one GPU, 720p, loads not counted (facts: §5). */
const published: Readonly<Partial<Record<WanTask, readonly (readonly [RegExp, number])[]>>> = {
  'ti2v-5B': [[/\b4090\b/, 534.7]],
  't2v-A14B': [
    [/\bA100\b/, 2735.7],
    [/\bH100\b/, 1041.5],
    [/\bH20\b/, 4048.7],
  ],
}
const usualLoadSeconds = 80

/** Nothing for GPUs that nobody has published a figure of. */
export function publishedSeconds(task: WanTask, kind: string | undefined): number | undefined {
  const [, seconds] = published[task]?.find(([name]) => kind && name.test(kind)) ?? []
  return seconds === undefined ? undefined : seconds + usualLoadSeconds
}

/**
 * The share of a load that a warm start leaves: CUDA, moving the weights, the VAE. About 12 of 80 s (facts:
 * warm-start §2); attempts teach what it is here.
 */
const warmShare = 0.15

/**
 * How much work is in a stage, in no unit in particular: reading the model is always the same, what
 * touches the picture grows with its pixels and latent frames (one for four frames), sampling with
 * the steps as well.
 */
export function unitsOf(
  stage: Stage,
  { size, frames, steps }: Shape,
  start: GenerationStartKind = 'cold',
): number {
  if (stage === 'loading') return start === 'warm' ? warmShare : 1
  if (stage === 'encoding') return 1
  const [width = 1, height = 1] = size.split('x').map(Number)
  const picture = (width * height * ((frames - 1) / 4 + 1)) / 1e7
  return stage === 'denoising' ? picture * steps : picture
}
