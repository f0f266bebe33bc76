/** What past attempts teach about the next one, stage by stage. */
import {
  type GenerationStartKind,
  type GpuId,
  type Shape,
  type Stage,
  stages,
  type Timestamp,
} from '../../domain/job.ts'
import { type Outlook, plus, whole } from './duration.ts'
import type { PastAttempt } from './eta-ports.ts'
import { type Defaults, defaultPlan, type Plan, planOf, unitsOf } from './published-speeds.ts'
import { fitStage } from './stage-fit.ts'
import { secondsOf } from './stage-seconds.ts'

/** How many past attempts of a GPU are looked at. */
const historyLength = 50

/** Somewhat more are kept, so that a plan of some attempts ago can be made again. */
export const attemptsKept = 2 * historyLength

/** An attempt so many younger ones ago counts half. */
const halfLife = 6

/** The files of the model are no longer in memory when nobody has read them for so long. */
const coldAfterMs = 6 * 3_600_000

export type GpuKinds = ReadonlyMap<GpuId, string | undefined>

export type SpeedModelOptions = Readonly<{
  /** What each GPU is; a number whose GPU was exchanged begins anew. */
  kinds: GpuKinds
  /** Before there is any history. */
  defaults: Defaults
  /** What was in memory before is not there any more. */
  bootedAt: Timestamp
}>

/** A generation loads the model from disk, from memory, or next to nothing after a warm start. */
export type Load = 'fromDisk' | 'fromMemory' | 'forked'

export type SpeedModel = Readonly<{
  plan(gpu: GpuId, shape: Shape, load: Load): Plan
  /** Whether the model's files must be read from disk. `isThere`: GPUs of the same machine; absent: all are. */
  isCold(at: Timestamp, isThere?: (gpu: GpuId) => boolean): boolean
  /** There is something to go by. */
  isLearned: boolean
}>

/**
 * Each stage of an attempt takes a GPU's own pace × the work in it × what this kind of video takes
 * beyond that. All are fitted to logarithms in a way that no outlier moves:
 * a GPU without a past borrows from its kind, then from all; a kind of video never seen is scaled
 * by its frames, pixels and steps; without any past there are published figures.
 */
export function learn(past: readonly PastAttempt[], options: SpeedModelOptions): SpeedModel {
  const { kinds, defaults, bootedAt } = options
  const loads = past
    .map((attempt) => ({ gpu: attempt.gpu, loaded: loadedAt(attempt) }))
    .sort((a, b) => a.loaded - b.loaded)
  const isCold: SpeedModel['isCold'] = (at, isThere = () => true) =>
    !loads.some(
      ({ gpu, loaded }) =>
        loaded < at &&
        loaded > at - coldAfterMs &&
        !(bootedAt < at && loaded < bootedAt) &&
        isThere(gpu),
    )
  const samples = weigh(past).map(({ attempt, ...weights }) => ({
    gpu: attempt.gpu,
    kind: attempt.gpuModel,
    isOurs: attempt.gpuModel === kinds.get(attempt.gpu),
    shape: attempt.shape,
    load: loadOf(attempt.start, isCold(attempt.claimedAt)),
    ...weights,
    seconds: secondsOf(
      attempt,
      defaultPlan(attempt.gpuModel, attempt.shape, defaults, attempt.start),
    ),
  }))
  const levelOf = Object.fromEntries(
    stages.map((stage) => [
      stage,
      fitStage(
        stage,
        samples
          .map(({ seconds, shape, load, weight, loadWeight, ...sample }) => ({
            ...sample,
            weight: stage === 'loading' ? loadWeight : weight,
            cell: cellOf(stage, shape, load),
            value: Math.log(
              Math.max(minSeconds, seconds[stage]) / unitsOf(stage, shape, startOf(load)),
            ),
          }))
          .filter(({ weight }) => weight > 0),
      ),
    ]),
  ) as Record<Stage, ReturnType<typeof fitStage>>
  const plans = new Map<string, Plan>()

  return {
    isCold,
    isLearned: past.length > 0,
    plan(gpu, shape, load) {
      const key = `${gpu} ${shape.size} ${shape.frames} ${shape.steps} ${load}`
      const made = plans.get(key) ?? makePlan(gpu, shape, load)
      plans.set(key, made)
      return made
    },
  }

  function makePlan(gpu: GpuId, shape: Shape, load: Load): Plan {
    const kind = kinds.get(gpu)
    if (past.length === 0) return defaultPlan(kind, shape, defaults, startOf(load))
    return planOf((stage) => {
      const { value, ...sureness } = levelOf[stage](gpu, kind, cellOf(stage, shape, load))
      return { median: Math.exp(value) * unitsOf(stage, shape, startOf(load)), ...sureness }
    })
  }
}

/** The time that an attempt takes its GPU. */
export const onGpu = (plan: Plan): Outlook =>
  stages
    .filter((stage) => stage !== 'converting')
    .map((stage) => whole(plan[stage]))
    .reduce(plus)

const minSeconds = 0.001

/** When the model was in memory, and so its files too; where nobody saw it, when it had to be. */
const loadedAt = ({ began, generatedAt }: PastAttempt): Timestamp =>
  began?.encoding ?? began?.denoising ?? generatedAt

export const loadOf = (start: GenerationStartKind | undefined, isCold: boolean): Load =>
  start === 'warm' ? 'forked' : isCold ? 'fromDisk' : 'fromMemory'

const startOf = (load: Load): GenerationStartKind => (load === 'forked' ? 'warm' : 'cold')

/**
 * The latest of each GPU, the younger the weightier. The time of a cold load is not forgotten over
 * warm ones: the age of a load is counted among its like.
 */
function weigh(past: readonly PastAttempt[]) {
  const ages = new Map<string, number>()
  const weightIn = (key: string) => {
    const age = ages.get(key) ?? 0
    ages.set(key, age + 1)
    return age < historyLength ? 0.5 ** (age / halfLife) : 0
  }
  return past.toReversed().flatMap((attempt) => {
    const key = `${attempt.gpu} ${attempt.gpuModel}`
    const weight = weightIn(key)
    const loadWeight = weightIn(`${key} ${attempt.start ?? 'cold'}`)
    return loadWeight > 0 ? [{ attempt, weight, loadWeight }] : []
  })
}

/** What may differ in a way that no formula tells: found out from attempts alone. */
function cellOf(stage: Stage, { size, frames }: Shape, load: Load): string {
  if (stage === 'loading') return load
  return stage === 'encoding' ? 'any' : `${size} ${frames}`
}
