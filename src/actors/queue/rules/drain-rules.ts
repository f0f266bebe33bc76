/** A drained node: all of its GPUs are drained, also those that are added later. */
import type { NodeName } from '../../../domain/node.ts'
import { gpusOf } from '../nodes.ts'
import type { QueueEffect } from '../queue-effects.ts'
import { healthOf, type QueueState } from '../queue-state.ts'
import { type QueueStep, stored, withHealth, without } from './queue-steps.ts'

export function setNodeDrained(state: QueueState, node: NodeName, drained: boolean): QueueStep {
  if (state.drainedNodes.has(node) === drained) return [state, []]
  const drainedNodes = drained
    ? new Set([...state.drainedNodes, node])
    : without(state.drainedNodes, node)
  return [{ ...state, drainedNodes }, [stored({ op: 'setNodeDrained', node, drained })]]
}

/** The node has joined, perhaps with GPUs that it did not have when it was drained. */
export function drainAdded(state: QueueState, node: NodeName): QueueStep {
  if (!state.drainedNodes.has(node)) return [state, []]
  let now = state
  const effects: QueueEffect[] = []
  for (const gpu of gpusOf(state, node)) {
    const health = healthOf(state, gpu)
    if (health.drained) continue
    const [next, more] = withHealth(now, gpu, { ...health, drained: true })
    now = next
    effects.push(...more)
  }
  return [now, effects]
}

/** One of its GPUs is resumed. The others stay as they are, which is stored for each of them from now on. */
export function endNodeDrain(state: QueueState, node: NodeName): QueueStep {
  if (!state.drainedNodes.has(node)) return [state, []]
  const [next, effects] = setNodeDrained(state, node, false)
  const kept = gpusOf(state, node).map((gpu) =>
    stored({ op: 'setGpuHealth', gpu, health: healthOf(state, gpu) }),
  )
  return [next, [...effects, ...kept]]
}
