/** `wanctl nodes`. */
import { type Node, parseResponse } from '../../http/typed-client.ts'
import { answerOf, connect, type ServiceOptions } from '../client/service.ts'
import { CommandError, exitCodes } from '../terminal/failure.ts'
import { show } from '../terminal/output.ts'
import { plain, table } from '../terminal/text.ts'

export const nodeActions = ['drain', 'resume', 'remove'] as const
type NodeAction = (typeof nodeActions)[number]

export async function nodes(
  action: NodeAction | undefined,
  name: string | undefined,
  options: ServiceOptions,
): Promise<void> {
  if (action === undefined) return listNodes(options)
  if (name === undefined) {
    const detail = `Say which node: wanctl nodes ${action} <node>. wanctl nodes lists them.`
    throw new CommandError(exitCodes.usage, detail)
  }
  const node = await perform(action, name, options)
  show(node, options, () => resultText(action, node))
}

function perform(action: NodeAction, name: string, options: ServiceOptions): Promise<Node> {
  const one = connect(options).nodes[':name']
  const param = { name }
  switch (action) {
    case 'drain':
      return answerOf(parseResponse(one.drain.$post({ param })))
    case 'resume':
      return answerOf(parseResponse(one.resume.$post({ param })))
    case 'remove':
      return answerOf(parseResponse(one.$delete({ param })))
  }
}

function resultText(action: NodeAction, node: Node): string {
  const name = plain(node.name)
  switch (action) {
    case 'drain':
      return `${name} is drained, also for GPUs added later. ${drainText(node)} To end that: wanctl nodes resume ${name}`
    case 'resume':
      return `${name} takes jobs again${node.gpus.length === 0 ? ' when it has GPUs' : ` on its ${gpusText(node)}`}.`
    case 'remove':
      return `${name} is removed. It joins again when it is started.`
  }
}

const drainText = (node: Node): string =>
  node.gpus.length === 0
    ? 'It has no GPUs now.'
    : `Its ${gpusText(node)} finish their jobs and take no new ones.`

const gpusText = ({ gpus }: Node): string => `GPUs ${gpus.join(', ')}`

async function listNodes(options: ServiceOptions): Promise<void> {
  const answer = await answerOf(parseResponse(connect(options).nodes.$get()))
  show(answer, options, () =>
    table(
      ['NODE', 'STATE', 'ROLE', 'GPUS', 'JOBS', 'VERSION', 'URL'],
      answer.nodes.map((node) => [
        ...[node.name, node.state, node.role, node.gpus.join(', ')],
        ...[jobsText(node), node.version, node.url],
      ]),
    ),
  )
}

/** Whether jobs are started there. */
function jobsText({ state, drained, hold, gpus }: Node): string {
  if (state !== 'present') return 'no'
  if (drained === null) return '?'
  if (drained) return 'no: drained'
  if (gpus.length === 0) return 'no: no GPUs'
  return hold ? `no: ${hold.reason}` : 'yes'
}
