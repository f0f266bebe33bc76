/** Robust fit of one stage: a pace for each GPU, and a factor for each kind of video. */
import type { GpuId, Stage } from '../../domain/job.ts'
import { robustMean, weightedMedian, weightOf } from './robust-statistics.ts'

export type Sample = Readonly<{
  gpu: GpuId
  kind: string | undefined
  isOurs: boolean
  cell: string
  weight: number
  /** Logarithm of seconds per unit of work. */
  value: number
}>

type Level = Readonly<{ value: number; spread: number; doubt: number }>

/** Fits the samples of one stage. The result gives the level of any GPU and kind of video. */
export function fitStage(stage: Stage, samples: readonly Sample[]) {
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

  /** The pace for GPUs without a past, which may be many. */
  const paceOfKind = new Map<string | undefined, number>()
  const paceLike = (kind: string | undefined, sameKind: readonly Sample[]): number => {
    const found = paceOfKind.get(kind) ?? paceIn(sameKind, tolerance)
    paceOfKind.set(kind, found)
    return found
  }

  return (gpu: GpuId, kind: string | undefined, cell: string): Level => {
    const among = byGpu.get(gpu)
    const alike = among?.filter((sample) => sample.cell === cell) ?? []
    const spread = spreads.get(gpu) ?? expectedSpread[stage] * 1.5
    const sameKind = kind === undefined ? undefined : byKind.get(kind)
    const from = among ? pace.get(gpu) : sameKind && paceLike(kind, sameKind)
    const value = (from ?? all) + extraOf(cell) + (own.get(`${gpu} ${cell}`) ?? 0)
    const doubts = [
      spread / Math.sqrt(Math.max(1, weightOf(alike.length > 0 ? alike : (among ?? [])))),
      among ? 0 : sameKind ? doubtOf.sameKind : doubtOf.otherKind,
      byCell.has(cell) ? 0 : isStartedLike(cell, byCell) ? doubtOf.newCell : doubtOf.otherStart,
    ]
    return { value, spread, doubt: Math.hypot(...doubts) }
  }
}

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
const doubtOf = { sameKind: 0.1, otherKind: 0.35, newCell: 0.15, otherStart: 0.5 }

/** Cold loads tell little of warm ones, and the other way round. */
const isStartedLike = (cell: string, known: ReadonlyMap<string, unknown>): boolean =>
  [...known.keys()].some((other) => (other === 'forked') === (cell === 'forked'))

const rounds = 16
const settledRounds = 6
const minTolerance = 0.02

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
