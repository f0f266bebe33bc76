/** `wanctl reload`. */
import { parseResponse } from '../../http/typed-client.ts'
import { answerOf, connect, type ServiceOptions } from '../client/service.ts'
import { show } from '../terminal/output.ts'
import { plain, table } from '../terminal/text.ts'

export async function reload(name: string, options: ServiceOptions): Promise<void> {
  const request = connect(options).tasks[':task'].reload.$post({ param: { task: name } })
  const task = await answerOf(parseResponse(request))
  show(task, options, () =>
    task.reloads.length > 1
      ? table(
          ['NODE', 'RELOAD', 'REASON'],
          task.reloads.map(({ node, result, reason }) => [node, result, reason ?? '']),
        )
      : `The template of ${plain(task.task)} is loaded again. Jobs start cold until it is ready: wanctl tasks`,
  )
}
