/** `wanctl resume`. */
import { parseResponse } from '../../http/typed-client.ts'
import { answerOf, connect, type ServiceOptions } from '../client/service.ts'
import { show } from '../terminal/output.ts'

export async function resume(id: string, options: ServiceOptions): Promise<void> {
  const request = connect(options).gpus[':id'].resume.$post({ param: { id } })
  const gpu = await answerOf(parseResponse(request))
  show(gpu, options, () => `GPU ${gpu.id} takes jobs again: ${gpu.state}.`)
}
