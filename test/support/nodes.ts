import { nodeNamed, type QueueNode, withNode } from '../../src/actors/queue/nodes.ts'
import type { QueueState } from '../../src/actors/queue/queue-state.ts'

/** The queue with another first node. */
export const withHome = (state: QueueState, change: Partial<QueueNode>): QueueState =>
  withNode(state, { ...nodeNamed(state), ...change })
