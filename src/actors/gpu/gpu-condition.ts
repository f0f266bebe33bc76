/** How a GPU does, in one word: what an operator looks for first. */
import type { GpuUse } from '../queue/queue-protocol.ts'
import type { ChildView } from '../supervisor/supervisor-protocol.ts'

export const gpuConditions = [
  'idle',
  'busy',
  'draining',
  'drained',
  'quarantined',
  'probing',
  'down',
  'given_up',
] as const
export type GpuCondition = (typeof gpuConditions)[number]

/** As the queue sees it, and the supervisor its actor. */
export function conditionOf(use: GpuUse | undefined, actor: ChildView | undefined): GpuCondition {
  if (actor?.phase === 'given_up') return 'given_up'
  if (!use?.ready) return 'down'
  const { drained, quarantine } = use.health
  if (quarantine && !quarantine.probing) return 'quarantined'
  if (drained) return use.jobId ? 'draining' : 'drained'
  if (quarantine) return 'probing'
  return use.jobId ? 'busy' : 'idle'
}
