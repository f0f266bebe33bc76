/** The record of a running attempt: its load, and the plan that its progress goes by. */
import type { GenerationStartKind, Timestamp } from '../../domain/job.ts'
import type { QueueSnapshot } from '../queue/queue-state.ts'
import type { RunningJob } from '../queue/running-jobs.ts'
import type { Plan } from './published-speeds.ts'
import type { Load, SpeedModel } from './speed-model.ts'
import type { Told } from './told.ts'

/** Facts about a running attempt, kept until it leaves the queue. */
export type Track = Readonly<{
  epoch: number
  load: Load
  plan: Plan
  progress: number
  latest?: Readonly<{ job: RunningJob; told: Told; at: Timestamp }>
}>

/** Until it is observed, that of the next one. Generations of earlier versions do not say, and are cold. */
export function startOf(
  { start, startedAt }: RunningJob,
  known: Track | undefined,
  { startsWarm }: Readonly<{ startsWarm: boolean }>,
): GenerationStartKind {
  if (start) return start
  const isExpected = known ? known.load === 'forked' : startsWarm && startedAt === undefined
  return isExpected ? 'warm' : 'cold'
}

/** Whether the files of the model have to be read from disk. */
export function isColdAt(
  model: Pick<SpeedModel, 'isCold'>,
  { running }: QueueSnapshot,
  at: Timestamp,
): boolean {
  for (const { reading, trace, generatedAt = Number.POSITIVE_INFINITY } of running.values()) {
    if (((reading ?? trace)?.began?.encoding ?? generatedAt) < at) return false
  }
  return model.isCold(at)
}

export const hasLoaded = ({ reading }: RunningJob): boolean =>
  reading !== undefined && reading.stage !== 'loading'
