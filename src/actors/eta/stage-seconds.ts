import { type Stage, stages, type Timestamp } from '../../domain/job.ts'
import type { PastAttempt } from './eta-ports.ts'
import type { Plan } from './published-speeds.ts'

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
