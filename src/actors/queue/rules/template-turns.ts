/** The turn of a template among the loads of its node: it takes as much memory and disk as a job. */
import type { Timestamp } from '../../../domain/job.ts'
import { nodeNamed, withNode } from '../nodes.ts'
import type { QueueNews } from '../queue-protocol.ts'
import type { QueueState } from '../queue-state.ts'
import { assign } from './claim-rules.ts'
import type { QueueStep } from './queue-steps.ts'

type TemplateNews<Type> = Extract<QueueNews, { type: Type }>

export function askTemplateTurn(
  state: QueueState,
  { build, node: name }: TemplateNews<'templateWaits'>,
  at: Timestamp,
): QueueStep {
  const node = nodeNamed(state, name)
  if (!node) return [state, []]
  const { templateLoad } = node
  // The turn may have been lost on the way to an actor that has crashed.
  if (templateLoad?.build === build && templateLoad.hasBegun)
    return [state, [{ do: 'giveTemplateTurn', node: node.name, build }]]
  return assign(withNode(state, { ...node, templateLoad: { build, hasBegun: false } }), at)
}

export function endTemplateTurn(
  state: QueueState,
  { build, node: name }: TemplateNews<'templateSettled' | 'templateOverdue'>,
  at: Timestamp,
): QueueStep {
  const node = nodeNamed(state, name)
  return node?.templateLoad?.build === build
    ? assign(withNode(state, { ...node, templateLoad: undefined }), at)
    : [state, []]
}
