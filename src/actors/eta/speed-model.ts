/** What past attempts teach about the next one, stage by stage. */
import { type GpuId, type Shape, type Stage, stages, type Timestamp } from '../../domain/job.ts'
import { type Outlook, plus, whole } from './duration.ts'
import type { PastAttempt } from './eta-ports.ts'
import { type Defaults, defaultPlan, type Plan, planOf, unitsOf } from './published-speeds.ts'

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

export type SpeedModel = Readonly<{
  plan(gpu: GpuId, shape: Shape, cold: boolean): Plan
  /** Whether the model's files must be read from disk. */
  isCold(at: Timestamp): boolean
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
  const loads = past.map(loadedAt).sort((a, b) => a - b)
  const isCold = (at: Timestamp): boolean =>
    !loads.some(
      (loaded) => loaded < at && loaded > at - coldAfterMs && !(bootedAt < at && loaded < bootedAt),
    )
  const samples = weigh(past).map(({ attempt, weight }) => ({
    gpu: attempt.gpu,
    kind: attempt.gpuModel,
    isOurs: attempt.gpuModel === kinds.get(attempt.gpu),
    shape: attempt.shape,
    cold: isCold(attempt.claimedAt),
    weight,
    seconds: secondsOf(attempt, defaultPlan(attempt.gpuModel, attempt.shape, defaults)),
  }))
  const levelOf = Object.fromEntries(
    stages.map((stage) => [
      stage,
      fitStage(
        stage,
        samples.map(({ seconds, ...sample }) => ({
          ...sample,
          cell: cellOf(stage, sample.shape, sample.cold),
          value: Math.log(Math.max(minSeconds, seconds[stage]) / unitsOf(stage, sample.shape)),
        })),
      ),
    ]),
  ) as Record<Stage, ReturnType<typeof fitStage>>
  const plans = new Map<string, Plan>()

  return {
    isCold,
    isLearned: past.length > 0,
    plan(gpu, shape, cold) {
      const key = `${gpu} ${shape.size} ${shape.frames} ${shape.steps} ${cold}`
      const made = plans.get(key) ?? makePlan(gpu, shape, cold)
      plans.set(key, made)
      return made
    },
  }

  function makePlan(gpu: GpuId, shape: Shape, cold: boolean): Plan {
    const kind = kinds.get(gpu)
    if (past.length === 0) return defaultPlan(kind, shape, defaults)
    return planOf((stage) => {
      const { value, ...sureness } = levelOf[stage](gpu, kind, cellOf(stage, shape, cold))
      return { median: Math.exp(value) * unitsOf(stage, shape), ...sureness }
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

/** The latest of each GPU, the younger the weightier. */
function weigh(past: readonly PastAttempt[]) {
  const ages = new Map<string, number>()
  return past.toReversed().flatMap((attempt) => {
    const key = `${attempt.gpu} ${attempt.gpuModel}`
    const age = ages.get(key) ?? 0
    ages.set(key, age + 1)
    return age < historyLength ? [{ attempt, weight: 0.5 ** (age / halfLife) }] : []
  })
}

/** What may differ in a way that no formula tells: found out from attempts alone. */
function cellOf(stage: Stage, { size, frames }: Shape, cold: boolean): string {
  if (stage === 'loading') return cold ? 'cold' : 'warm'
  return stage === 'encoding' ? 'any' : `${size} ${frames}`
}

/**
 * How long each stage took. Where one was not seen to begin, the time is shared out as usual among
 * those that it may have been, so that the whole is always right.
 */
export function secondsOf(
  { claimedAt, generatedAt, endedAt, began = {} }: PastAttempt,
  usual: Plan,
): Readonly<Record<Stage, number>> {
  const begins: readonly (readonly [Stage, Timestamp])[] = [
    ['loading', claimedAt],
    ...stages.flatMap((stage) => {
      const at = stage === 'loading' || stage === 'converting' ? undefined : began[stage]
      return at === undefined ? [] : [[stage, at] as const]
    }),
    ['converting', generatedAt],
  ]
  const seconds = Object.fromEntries(stages.map((stage) => [stage, 0])) as Record<Stage, number>
  for (const [index, [stage, from]] of begins.entries()) {
    const [next, to] = begins[index + 1] ?? [undefined, endedAt]
    const span = stages.slice(stages.indexOf(stage), next ? stages.indexOf(next) : undefined)
    const usually = span.reduce((sum, one) => sum + usual[one].median, 0)
    for (const one of span) {
      seconds[one] = (Math.max(0, to - from) / 1000) * (usual[one].median / usually)
    }
  }
  return seconds
}

type Sample = Readonly<{
  gpu: GpuId
  kind: string | undefined
  isOurs: boolean
  cell: string
  weight: number
  /** Logarithm of seconds per unit of work. */
  value: number
}>

type Level = Readonly<{ value: number; spread: number; doubt: number }>

/** How much two attempts differ, before enough of them tell; as if that many had told so. */
const expectedSpread: Readonly<Record<Stage, number>> = {
  loading: 0.15,
  encoding: 0.15,
  denoising: 0.04,
  decoding: 0.08,
  saving: 0.15,
  converting: 0.2,
}
const expectationWeight = 2

/** What is borrowed may be wrong by so much. */
const doubtOf = { sameKind: 0.1, otherKind: 0.35, newCell: 0.15 }

function fitStage(stage: Stage, samples: readonly Sample[]) {
  const ours = samples.filter(({ isOurs }) => isOurs)
  const byGpu = Map.groupBy(ours, ({ gpu }) => gpu)
  const byKind = Map.groupBy(samples, ({ kind }) => kind)
  const byCell = Map.groupBy(samples, ({ cell }) => cell)
  const pace = new Map<GpuId, number>()
  const extra = new Map<string, number>([...byCell.keys()].map((cell) => [cell, 0]))
  const extraOf = (cell: string) => extra.get(cell) ?? 0
  let all = 0
  const paceOf = ({ gpu, isOurs }: Sample) => (isOurs ? (pace.get(gpu) ?? all) : all)
  const paceIn = (among: readonly Sample[], tolerance: number) =>
    robustMean(among, ({ value, cell }) => value - extraOf(cell), tolerance)

  // Pace and extra explain the same figures; taken in turns they settle. At first every attempt
  // counts, lest they settle too early; then those that are far off count less and less.
  let tolerance = Number.POSITIVE_INFINITY
  for (let round = 0; round < (byCell.size > 1 ? rounds : settledRounds); round++) {
    if (round >= rounds - settledRounds || byCell.size === 1) {
      const off = samples.map((sample) => ({
        weight: sample.weight,
        value: Math.abs(sample.value - paceOf(sample) - extraOf(sample.cell)),
      }))
      if (round > 0)
        tolerance = Math.max(minTolerance, 2 * weightedMedian(off, ({ value }) => value))
    }
    all = paceIn(samples, tolerance)
    for (const [gpu, among] of byGpu) pace.set(gpu, paceIn(among, tolerance))
    if (byCell.size === 1) continue
    for (const [cell, among] of byCell) {
      const found = robustMean(among, (sample) => sample.value - paceOf(sample), tolerance)
      extra.set(cell, found * trust(among, 0.3))
    }
  }

  const own = new Map<string, number>()
  const spreads = new Map<GpuId, number>()
  for (const [gpu, among] of byGpu) {
    const expected = (cell: string) => (pace.get(gpu) ?? all) + extraOf(cell)
    for (const [cell, alike] of Map.groupBy(among, (sample) => sample.cell)) {
      const found = weightedMedian(alike, ({ value }) => value - expected(cell))
      own.set(`${gpu} ${cell}`, found * trust(alike, 1))
    }
    const residuals = among.map(({ value, cell, weight }) => ({
      weight,
      value: value - expected(cell) - (own.get(`${gpu} ${cell}`) ?? 0),
    }))
    spreads.set(gpu, spreadOf(residuals, expectedSpread[stage]))
  }

  return (gpu: GpuId, kind: string | undefined, cell: string): Level => {
    const among = byGpu.get(gpu)
    const alike = among?.filter((sample) => sample.cell === cell) ?? []
    const spread = spreads.get(gpu) ?? expectedSpread[stage] * 1.5
    const sameKind = kind === undefined ? undefined : byKind.get(kind)
    const from = among ? pace.get(gpu) : sameKind && paceIn(sameKind, tolerance)
    const value = (from ?? all) + extraOf(cell) + (own.get(`${gpu} ${cell}`) ?? 0)
    const doubts = [
      spread / Math.sqrt(Math.max(1, weightOf(alike.length > 0 ? alike : (among ?? [])))),
      among ? 0 : sameKind ? doubtOf.sameKind : doubtOf.otherKind,
      byCell.has(cell) ? 0 : doubtOf.newCell,
    ]
    return { value, spread, doubt: Math.hypot(...doubts) }
  }
}

const rounds = 16
const settledRounds = 6
const minTolerance = 0.02

/** Huber's: what is further off than tolerated pulls no more than what is just tolerated. */
function robustMean<T extends { weight: number }>(
  items: readonly T[],
  pick: (item: T) => number,
  tolerance: number,
): number {
  let mean = weightedMedian(items, pick)
  for (let round = 0; round < 4; round++) {
    let [sum, weights] = [0, 0]
    for (const item of items) {
      const value = pick(item)
      const off = Math.abs(value - mean)
      const weight = item.weight * (off > tolerance ? tolerance / off : 1)
      sum += weight * value
      weights += weight
    }
    if (weights > 0) mean = sum / weights
  }
  return mean
}

const weightOf = (samples: readonly { weight: number }[]): number =>
  samples.reduce((sum, { weight }) => sum + weight, 0)

/** Few samples are believed in part only. */
const trust = (samples: readonly Sample[], caution: number): number =>
  weightOf(samples) / (weightOf(samples) + caution)

function spreadOf(
  residuals: readonly Readonly<{ value: number; weight: number }>[],
  expected: number,
): number {
  const typical = weightedMedian(residuals, ({ value }) => Math.abs(value))
  const limit = Math.max(4.5 * typical, 0.02)
  const squares = residuals.reduce(
    (sum, { value, weight }) => sum + weight * Math.min(Math.abs(value), limit) ** 2,
    0,
  )
  const weight = weightOf(residuals)
  return Math.sqrt((squares + expectationWeight * expected ** 2) / (weight + expectationWeight))
}

/** Between the two middle ones where it falls between them. */
export function weightedMedian<T extends { weight: number }>(
  items: readonly T[],
  pick: (item: T) => number,
): number {
  const sorted = items
    .map((item) => ({ value: pick(item), weight: item.weight }))
    .sort((a, b) => a.value - b.value)
  const half = weightOf(sorted) / 2
  let below = 0
  for (const [index, { value, weight }] of sorted.entries()) {
    const next = sorted[index + 1]
    below += weight
    if (below > half * (1 + 1e-9) || !next) return value
    if (below >= half * (1 - 1e-9)) return (value + next.value) / 2
  }
  return 0
}
