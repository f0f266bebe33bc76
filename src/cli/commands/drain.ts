/** `wanctl drain`. */
import { parseResponse } from '../../http/typed-client.ts'
import { shortId } from '../client/job-reference.ts'
import { answerOf, connect, type ServiceOptions } from '../client/service.ts'
import { show } from '../terminal/output.ts'

export async function drain(id: string, options: ServiceOptions): Promise<void> {
  const request = connect(options).gpus[':id'].drain.$post({ param: { id } })
  const gpu = await answerOf(parseResponse(request))
  show(gpu, options, () =>
    gpu.job_id === null
      ? `GPU ${gpu.id} is drained and takes no job until: wanctl resume ${gpu.id}`
      : `GPU ${gpu.id} ends job ${shortId(gpu.job_id)} and then takes no other until: wanctl resume ${gpu.id}`,
  )
}
