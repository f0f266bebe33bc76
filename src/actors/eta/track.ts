/** The record of a running attempt: its load, and the plan that its progress goes by. */
import type { GenerationStartKind, Timestamp } from '../../domain/job.ts'
import type { NodeName } from '../../domain/node.ts'
import { nodeNameOf } from '../queue/nodes.ts'
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

type Machines = Pick<QueueSnapshot, 'running' | 'nodeOf' | 'nodes' | 'settings'>

/** Whether the files of the model have to be read from the disk of this node. */
export function isColdAt(
  model: Pick<SpeedModel, 'isCold'>,
  queue: Machines,
  node: NodeName,
  at: Timestamp,
): boolean {
  for (const job of queue.running.values()) {
    const { gpu, reading, trace, generatedAt = Number.POSITIVE_INFINITY } = job
    const loadedAt = (reading ?? trace)?.began?.encoding ?? generatedAt
    if (loadedAt < at && nodeNameOf(queue, gpu) === node) return false
  }
  return model.isCold(at, (gpu) => nodeNameOf(queue, gpu) === node)
}

export const hasLoaded = ({ reading }: RunningJob): boolean =>
  reading !== undefined && reading.stage !== 'loading'
