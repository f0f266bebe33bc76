/** `wanctl tasks`. */
import { parseResponse, type Task } from '../../http/typed-client.ts'
import { answerOf, connect, type ServiceOptions } from '../client/service.ts'
import { show } from '../terminal/output.ts'
import { bytes, duration, table } from '../terminal/text.ts'

export async function tasks(options: ServiceOptions): Promise<void> {
  const answer = await answerOf(parseResponse(connect(options).tasks.$get()))
  show(answer, options, () =>
    table(
      ['TASK', 'TEMPLATE', 'JOBS', 'PRIVATE', 'SHARED', 'LOADED IN', 'CHECKPOINT', 'REASON'],
      answer.tasks.map(({ task, checkpoint, template }) => [
        task,
        template.state,
        String(template.jobs_started),
        ...factsText(template),
        checkpoint,
        template.reason ?? '',
      ]),
    ),
  )
}

const factsText = ({ private_bytes, shared_bytes, load_seconds }: Task['template']): string[] => [
  private_bytes === null ? '' : bytes(private_bytes),
  shared_bytes === null ? '' : bytes(shared_bytes),
  load_seconds === null ? '' : duration(load_seconds),
]
