/** Commands of operators for a whole node: drain, resume, remove. */
import { causeOf } from '../../../domain/client.ts'
import { nodeIsPresent, RefusalError } from '../../../domain/errors.ts'
import type { Timestamp } from '../../../domain/job.ts'
import { answer } from '../../actor.ts'
import { nodeUse } from '../queue-answers.ts'
import type { QueueEffect } from '../queue-effects.ts'
import type { QueueCommand } from '../queue-protocol.ts'
import { healthOf, type QueueState } from '../queue-state.ts'
import { thenAssign } from './claim-rules.ts'
import { withHealth } from './gpu-rules.ts'
import { forgetNode } from './lost-node-rules.ts'
import type { QueueStep } from './queue-steps.ts'

type Command<Type> = Extract<QueueCommand, { type: Type }>

/** Each of its GPUs is drained or resumed, so that each keeps it over a restart and a change of the leader. */
export function drainOrResumeNode(
  state: QueueState,
  message: Command<'drainNode' | 'resumeNode'>,
  at: Timestamp,
): QueueStep {
  const { type, node: name, replyTo } = message
  const node = state.nodes.get(name)
  if (!node) return [state, [answer(replyTo, unknownNode(name))]]
  let now = state
  const effects: QueueEffect[] = []
  for (const gpu of node.gpus) {
    const health =
      type === 'drainNode'
        ? { ...healthOf(now, gpu), drained: true }
        : { drained: false, failures: [] }
    const [next, more] = withHealth(now, gpu, health, causeOf(message))
    now = next
    effects.push(...more)
  }
  return thenAssign([now, [...effects, answer(replyTo, nodeUse(now, node))]], at)
}

export function removeNode(
  state: QueueState,
  { node: name, replyTo }: Command<'removeNode'>,
  at: Timestamp,
): QueueStep {
  const node = state.nodes.get(name)
  if (!node) return [state, [answer(replyTo, unknownNode(name))]]
  if (node.presence === 'present') return [state, [answer(replyTo, nodeIsPresent(name))]]
  const [next, effects] = forgetNode(state, name, at)
  return [next, [...effects, answer(replyTo, 'removed')]]
}

const unknownNode = (name: string): RefusalError =>
  new RefusalError('node_not_found', `This service has no node "${name}"; GET /nodes lists them.`)
