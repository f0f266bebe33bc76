/** Commands of operators for a whole node: drain, resume, remove. */
import { causeOf } from '../../../domain/client.ts'
import { nodeIsPresent, RefusalError } from '../../../domain/errors.ts'
import type { Timestamp } from '../../../domain/job.ts'
import { answer } from '../../actor.ts'
import { gpusOf } from '../nodes.ts'
import { nodeUse } from '../queue-answers.ts'
import type { QueueCommand } from '../queue-protocol.ts'
import { healthOf, type QueueState } from '../queue-state.ts'
import { thenAssign } from './claim-rules.ts'
import { setNodeDrained } from './drain-rules.ts'
import { accountForResumed } from './gpu-rules.ts'
import { forgetNode } from './lost-node-rules.ts'
import { type QueueStep, withHealth } from './queue-steps.ts'

type Command<Type> = Extract<QueueCommand, { type: Type }>

/** Each of its GPUs is drained or resumed, and the node remembers it for those that it gets later. */
export function drainOrResumeNode(
  state: QueueState,
  message: Command<'drainNode' | 'resumeNode'>,
  at: Timestamp,
): QueueStep {
  const { type, node: name, replyTo } = message
  const node = state.nodes.get(name)
  if (!node) return [state, [answer(replyTo, unknownNode(name))]]
  const isDrain = type === 'drainNode'
  let [now, effects] = setNodeDrained(state, name, isDrain)
  for (const gpu of gpusOf(state, name)) {
    const health = isDrain
      ? { ...healthOf(now, gpu), drained: true }
      : { drained: false, failures: [] }
    const [next, more] = withHealth(now, gpu, health, causeOf(message))
    now = next
    effects = [...effects, ...more]
  }
  const [next, accounts] = accountForResumed(now, isDrain ? [] : gpusOf(now, name), at)
  return thenAssign([next, [...effects, ...accounts, answer(replyTo, nodeUse(next, node))]], at)
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
