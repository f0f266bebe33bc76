import { strict as assert } from 'node:assert'
import { nodeNamed, type QueueNode, withNode } from '../../src/actors/queue/nodes.ts'
import type { QueueState } from '../../src/actors/queue/queue-state.ts'

/** The queue with another first node. */
export const withHome = (state: QueueState, change: Partial<QueueNode>): QueueState =>
  withNode(state, { ...homeOf(state), ...change })

export function homeOf(state: QueueState): QueueNode {
  const home = nodeNamed(state)
  assert(home)
  return home
}
