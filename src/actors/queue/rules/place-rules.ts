/** Rules for the standing checks of a node: its disks, and what generations and conversions need. */
import type { Timestamp } from '../../../domain/job.ts'
import { nodeNamed, type QueueNode, withNode } from '../nodes.ts'
import type { QueueNews } from '../queue-protocol.ts'
import type { QueueState } from '../queue-state.ts'
import { assign } from './claim-rules.ts'
import { endPause, seeChecks } from './environment-rules.ts'
import type { QueueStep } from './queue-steps.ts'

type News<Type> = Extract<QueueNews, { type: Type }>

export function seeRoom(
  state: QueueState,
  { node: name, hasRoom, shortage }: News<'roomChecked'>,
  at: Timestamp,
): QueueStep {
  const node = nodeNamed(state, name)
  return node ? assign(withNode(state, { ...node, hasRoom, shortage }), at) : [state, []]
}

export function see(
  state: QueueState,
  { node: name, checks }: News<'environmentChecked'>,
  at: Timestamp,
): QueueStep {
  const node = nodeNamed(state, name)
  if (!node) return [state, []]
  const { environment, pause } = seeChecks(node.environment, checks, at)
  const [next, effects] = withEnvironment(state, { ...node, environment }, at)
  if (!pause) return [next, effects]
  const { number, ms: withinMs } = pause
  return [next, [...effects, { do: 'expectPause', node: node.name, pause: number, withinMs }]]
}

/** A pause after failures by the environment is over. */
export function goOn(
  state: QueueState,
  { node: name, pause }: News<'pauseEnded'>,
  at: Timestamp,
): QueueStep {
  const node = nodeNamed(state, name)
  if (!node) return [state, []]
  return withEnvironment(state, { ...node, environment: endPause(node.environment, pause) }, at)
}

const withEnvironment = (state: QueueState, node: QueueNode, at: Timestamp): QueueStep =>
  node.environment === state.nodes.get(node.name)?.environment
    ? [state, []]
    : assign(withNode(state, node), at)
