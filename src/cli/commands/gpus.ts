/** `wanctl gpus`, `wanctl restart`, `wanctl drain`, `wanctl resume`. */
import { type Gpu, parseResponse } from '../../http/typed-client.ts'
import { shortId } from '../job-reference.ts'
import { type OutputOptions, show } from '../output.ts'
import { answerOf, connect } from '../service.ts'
import { table } from '../text.ts'

type Options = OutputOptions & Readonly<{ url: string }>

export async function gpus(options: Options): Promise<void> {
  const answer = await answerOf(parseResponse(connect(options).gpus.$get()))
  show(answer, options, () =>
    table(
      ['GPU', 'STATE', 'JOB', 'STAGE', 'MEMORY', 'USE', 'TEMPERATURE', 'NAME'],
      answer.gpus.map((gpu) => [
        String(gpu.id),
        stateText(gpu),
        ...workText(gpu),
        ...measuredText(gpu),
        gpu.name ?? '',
      ]),
    ),
  )
}

export async function restart(
  id: string,
  { job, ...options }: Options & Readonly<{ job: 'adopt' | 'requeue' | 'fail' }>,
): Promise<void> {
  const request = connect(options).gpus[':id'].restart.$post({ param: { id }, json: { job } })
  const gpu = await answerOf(parseResponse(request))
  show(gpu, options, () => `GPU ${gpu.id} is being restarted.`)
}

export async function drain(id: string, options: Options): Promise<void> {
  const request = connect(options).gpus[':id'].drain.$post({ param: { id } })
  const gpu = await answerOf(parseResponse(request))
  show(gpu, options, () =>
    gpu.job_id === null
      ? `GPU ${gpu.id} is drained and takes no job until: wanctl resume ${gpu.id}`
      : `GPU ${gpu.id} ends job ${shortId(gpu.job_id)} and then takes no other until: wanctl resume ${gpu.id}`,
  )
}

export async function resume(id: string, options: Options): Promise<void> {
  const request = connect(options).gpus[':id'].resume.$post({ param: { id } })
  const gpu = await answerOf(parseResponse(request))
  show(gpu, options, () => `GPU ${gpu.id} takes jobs again: ${gpu.state}.`)
}

function stateText({ state, quarantine }: Gpu): string {
  if (!quarantine || quarantine.until === null) return state
  return `${state} until ${new Date(quarantine.until).toLocaleTimeString('sv-SE')}`
}

const workText = ({ job_id, stage, step }: Gpu): string[] => [
  job_id === null ? '' : shortId(job_id),
  [stage ?? '', step === null ? '' : String(step)].join(' ').trim(),
]

const measuredText = ({ measured }: Gpu): string[] =>
  measured
    ? [
        `${measured.memory_used_mib}/${measured.memory_total_mib} MiB`,
        `${measured.utilization_percent} %`,
        `${measured.temperature_c} °C`,
      ]
    : ['', '', '']
