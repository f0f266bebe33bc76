/** `wanctl tasks`. */
import { parseResponse, type Task } from '../../http/typed-client.ts'
import { answerOf, connect, type ServiceOptions } from '../client/service.ts'
import { show } from '../terminal/output.ts'
import { bytes, duration, table } from '../terminal/text.ts'

export async function tasks(options: ServiceOptions): Promise<void> {
  const answer = await answerOf(parseResponse(connect(options).tasks.$get()))
  const hasNodes = answer.tasks.some(({ nodes }) => nodes.length > 1)
  show(answer, options, () =>
    table(
      [
        ...['TASK', ...(hasNodes ? ['NODE'] : []), 'TEMPLATE', 'JOBS'],
        ...['PRIVATE', 'SHARED', 'LOADED IN', 'CHECKPOINT', 'REASON'],
      ],
      answer.tasks.flatMap(({ task, checkpoint, nodes }) =>
        nodes.map(({ node, template }) => [
          ...[task, ...(hasNodes ? [node] : [])],
          ...templateText(template),
          ...[checkpoint, template ? (template.reason ?? '') : 'the node did not answer in time'],
        ]),
      ),
    ),
  )
}

const templateText = (template: Task['template'] | null): string[] =>
  template
    ? [template.state, String(template.jobs_started), ...factsText(template)]
    : ['unknown', '', '', '', '']

const factsText = ({ private_bytes, shared_bytes, load_seconds }: Task['template']): string[] => [
  private_bytes === null ? '' : bytes(private_bytes),
  shared_bytes === null ? '' : bytes(shared_bytes),
  load_seconds === null ? '' : duration(load_seconds),
]
