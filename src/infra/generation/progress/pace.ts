/** When stages began and steps were done, as told by two readers: kept in order and made a pace of. */
import {
  type GenerationStage,
  type StageBegins,
  stages,
  type Timestamp,
} from '../../../domain/job.ts'

/**
 * The begins of the stages up to this one, so that nothing began before what comes before it, nor
 * later than is known to have been.
 */
export function beganUpTo(
  stage: GenerationStage,
  began: StageBegins,
  latest: Timestamp,
): StageBegins {
  const inOrder: { -readonly [stage in keyof StageBegins]: Timestamp } = {}
  let earliest = began.loading ?? 0
  for (const one of momentsUpTo(stage)) {
    const at = began[one]
    if (at === undefined) continue
    earliest = Math.round(Math.max(earliest, Math.min(at, latest)))
    inOrder[one] = earliest
  }
  return inOrder
}

function momentsUpTo(stage: GenerationStage): readonly (keyof StageBegins)[] {
  const [loading, ...others] = stages.slice(0, stages.indexOf(stage) + 1) as GenerationStage[]
  return loading ? [loading, 'imported', ...others] : []
}

/** The latest steps that were seen to be done, the last one last: as many as the pace depends on. */
export type Pace = readonly Readonly<{ step: number; at: Timestamp }>[]

const intervalsThatCount = 8

/** A step that is no later than those before it is left out, and time does not go back. */
export function withStep(pace: Pace, step: number, at: Timestamp): Pace {
  const before = pace.at(-1)
  if (before && step <= before.step) return pace
  const done = { step, at: Math.round(Math.max(at, before?.at ?? at)) }
  return [...pace.slice(-intervalsThatCount), done]
}

/**
 * How long a step takes lately: the median of the latest intervals, which one odd step (as where
 * A14B changes its expert) does not move and a card that gets slower does, within a few. The first
 * step, which warms up, counts only as long as there is no other.
 */
export function secondsPerStep(pace: Pace): number | undefined {
  const intervals = pace.slice(1).map(({ step, at }, index) => {
    const before = pace[index] as Pace[number]
    return { isFirst: before.step === 0, seconds: (at - before.at) / 1000 / (step - before.step) }
  })
  const warm = intervals.filter(({ isFirst }) => !isFirst)
  const seconds = (warm.length > 0 ? warm : intervals).map((interval) => interval.seconds)
  return median(seconds) || undefined
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length / 2
  const [below = 0, above = 0] = [sorted[Math.ceil(middle) - 1], sorted[Math.floor(middle)]]
  return (below + above) / 2
}

/** What both readers say of the time in a reading. */
export function timing(pace: Pace): { steppedAt?: Timestamp; secondsPerStep?: number } {
  const latest = pace.at(-1)
  const seconds = secondsPerStep(pace)
  return {
    ...(latest && latest.step > 0 && { steppedAt: latest.at }),
    ...(seconds !== undefined && { secondsPerStep: seconds }),
  }
}
