/** `wanctl gpus`. */
import { type Gpu, parseResponse } from '../../http/typed-client.ts'
import { shortId } from '../client/job-reference.ts'
import { answerOf, connect, type ServiceOptions } from '../client/service.ts'
import { show } from '../terminal/output.ts'
import { table } from '../terminal/text.ts'

export async function gpus(options: ServiceOptions): Promise<void> {
  const answer = await answerOf(parseResponse(connect(options).gpus.$get()))
  const hasNodes = new Set(answer.gpus.map(({ node }) => node)).size > 1
  const onlyWithNodes = (text: string): string[] => (hasNodes ? [text] : [])
  show(answer, options, () =>
    table(
      [
        ...['GPU', ...onlyWithNodes('NODE'), 'STATE'],
        ...['JOB', 'START', 'STAGE', 'MEMORY', 'USE', 'TEMPERATURE', 'NAME'],
      ],
      answer.gpus.map((gpu) => [
        ...[String(gpu.id), ...onlyWithNodes(gpu.node ?? ''), stateText(gpu)],
        ...workText(gpu),
        ...measuredText(gpu),
        gpu.name ?? '',
      ]),
    ),
  )
}

function stateText({ state, quarantine }: Gpu): string {
  if (!quarantine || quarantine.until === null) return state
  return `${state} until ${new Date(quarantine.until).toLocaleTimeString('sv-SE')}`
}

const workText = ({ job_id, start, stage, step }: Gpu): string[] => [
  job_id === null ? '' : shortId(job_id),
  start ?? '',
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
