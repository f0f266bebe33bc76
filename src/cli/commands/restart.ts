/** `wanctl restart`. */
import { parseResponse } from '../../http/typed-client.ts'
import { answerOf, connect, type ServiceOptions } from '../client/service.ts'
import { show } from '../terminal/output.ts'

export async function restart(
  id: string,
  { job, ...options }: ServiceOptions & Readonly<{ job: 'adopt' | 'requeue' | 'fail' }>,
): Promise<void> {
  const request = connect(options).gpus[':id'].restart.$post({ param: { id }, json: { job } })
  const gpu = await answerOf(parseResponse(request))
  show(gpu, options, () => `GPU ${gpu.id} is being restarted.`)
}
