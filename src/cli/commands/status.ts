/** `wanctl status`: of a job, or of the service. */
import { soleNode } from '../../domain/node.ts'
import {
  type Client,
  type InferResponseType,
  type Job,
  parseResponse,
} from '../../http/typed-client.ts'
import { findJobId } from '../client/job-reference.ts'
import { etaText, stageText } from '../client/progress.ts'
import {
  answerOf,
  connect,
  failureOf,
  responseOf,
  type ServiceOptions,
  UnreachableError,
} from '../client/service.ts'
import { exitCodes } from '../terminal/failure.ts'
import { show } from '../terminal/output.ts'
import { bytes, colored, duration, facts, localTime, plain } from '../terminal/text.ts'

export async function status(
  reference: string | undefined,
  options: ServiceOptions,
): Promise<void> {
  const api = connect(options)
  if (reference === undefined) return statusOfService(api, options)
  const id = await findJobId(api, reference)
  const job = await answerOf(parseResponse(api.jobs[':id'].$get({ param: { id } })))
  show(job, options, () =>
    facts([
      ['id', job.id],
      ['status', statusText(job)],
      ['left', etaText(job, 0) || null],
      // Without a cluster there is one node, which needs no name.
      ['node', job.node === soleNode ? null : (job.node ?? null)],
      ['error', job.error && `${job.error.message} (${job.error.code})`],
      ['prompt', job.prompt],
      ['seed', String(job.seed)],
      ['size', `${job.size}, ${job.frames} frames, ${job.steps} steps`],
      ['owner', job.owner],
      ['submitted', localTime(job.submitted_at)],
      ['ended', job.ended_at && localTime(job.ended_at)],
      ['took', tookText(job)],
      ['attempts', String(job.attempt)],
      ['file', job.file && `${job.filename}, ${bytes(job.file.bytes)}`],
      ['link', job.file_url],
    ]),
  )
}

async function statusOfService(api: Client, options: ServiceOptions): Promise<void> {
  const [health, readiness] = await Promise.all([
    answerOf(parseResponse(api.health.$get())),
    readinessOf(api),
  ])
  const [running, queued] = await Promise.all([count(api, 'running'), count(api, 'queued')])
  const document = {
    ...{ url: options.url, ...health, ...readiness },
    ...{ running: running.count, queued: queued.count },
    has_more: running.hasMore || queued.hasMore,
  }
  show(document, options, () =>
    [
      facts([
        [
          'service',
          `${options.url}, version ${health.version}, up ${duration(health.uptime_seconds)}`,
        ],
        ['ready', readiness.ready ? 'yes' : 'no'],
        ['nodes', nodesText(readiness)],
        ['running', countText(running)],
        ['queued', countText(queued)],
      ]),
      ...readiness.checks
        .filter(({ ok }) => !ok)
        .map(
          ({ name, detail }) => `${colored('red', 'not ready')}  ${plain(name)}: ${plain(detail)}`,
        ),
    ].join('\n'),
  )
  if (!readiness.ready) process.exitCode = exitCodes.failed
}

type Readiness = InferResponseType<Client['ready']['$get'], 200>

/** Not being ready is an answer, too. */
async function readinessOf(api: Client): Promise<Readiness> {
  const response = await api.ready.$get().catch((error: unknown) => {
    throw failureOf(error)
  })
  if (response.status === 200 || response.status === 503) {
    const answer = await response.json().catch(() => undefined)
    if (answer && 'checks' in answer) return answer
  }
  await responseOf(Promise.resolve(response))
  throw new UnreachableError('The service does not say whether it is ready.')
}

/** Null without a cluster, and by a service of an earlier version. */
function nodesText({ nodes }: Partial<Readiness>): string | null {
  if (!nodes) return null
  const { leader, present, left, lost } = nodes
  if (present + left + lost < 2) return null
  const counts = [[present, 'present'] as const, [left, 'left'] as const, [lost, 'lost'] as const]
    .filter(([count]) => count > 0)
    .map(([count, state]) => `${count} ${state}`)
  return [...counts, leader === null ? 'no leader' : `led by ${leader}`].join(', ')
}

type JobCount = Readonly<{ count: number; hasMore: boolean }>

async function count(api: Client, wanted: 'running' | 'queued'): Promise<JobCount> {
  const query = { status: wanted, limit: '200' }
  const { jobs, has_more } = await answerOf(parseResponse(api.jobs.$get({ query })))
  return { count: jobs.length, hasMore: has_more }
}

const countText = ({ count, hasMore }: JobCount): string => `${hasMore ? 'more than ' : ''}${count}`

const statusText = (job: Job): string =>
  job.status === 'running'
    ? `running: ${stageText(job)}, ${Math.floor(job.progress * 100)} %`
    : job.status

function tookText({ started_at, ended_at }: Job): string | null {
  if (started_at === null || ended_at === null) return null
  return duration((Date.parse(ended_at) - Date.parse(started_at)) / 1000)
}
