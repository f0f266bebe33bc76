/** `wan list`, `wan status`, `wan logs`, `wan cancel`. */
import { setTimeout as delay } from 'node:timers/promises'
import { type Client, type Job, parseResponse } from '../../http/typed-client.ts'
import { CommandError, exitCodes } from '../failure.ts'
import { isOver } from '../follow.ts'
import { listenForInterruption, unlessInterrupted } from '../interruption.ts'
import { findJobId, latestJobs, shortId } from '../job-reference.ts'
import { type OutputOptions, say, show, showEvent } from '../output.ts'
import { etaText, stageText } from '../progress.ts'
import { answerOf, connect, failureOf, responseOf, UnreachableError } from '../service.ts'
import { bytes, colored, duration, facts, plain, plainLines, table } from '../text.ts'

type Options = OutputOptions & Readonly<{ url: string }>

export async function list(
  options: Options & Readonly<{ status?: string; limit: number }>,
): Promise<void> {
  const api = connect(options)
  const jobs = await Array.fromAsync(latestJobs(api, options.limit, options.status))
  show({ jobs }, options, () =>
    jobs.length === 0
      ? 'No jobs.'
      : table(
          ['ID', 'STATUS', 'PROGRESS', 'LEFT', 'GPU', 'SUBMITTED', 'PROMPT'],
          jobs.map((job) => [
            shortId(job.id),
            job.status,
            isOver(job) ? '' : `${Math.floor(job.progress * 100)} %`,
            job.eta_seconds === null ? '' : duration(job.eta_seconds),
            job.gpu_id === null ? '' : String(job.gpu_id),
            localTime(job.submitted_at),
            job.prompt,
          ]),
        ),
  )
}

export async function status(reference: string | undefined, options: Options): Promise<void> {
  const api = connect(options)
  if (reference === undefined) return statusOfService(api, options)
  const id = await findJobId(api, reference)
  const job = await answerOf(parseResponse(api.jobs[':id'].$get({ param: { id } })))
  show(job, options, () =>
    facts([
      ['id', job.id],
      ['status', statusText(job)],
      ['left', etaText(job, 0) || null],
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

async function statusOfService(api: Client, options: Options): Promise<void> {
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

/** Not being ready is an answer, too. */
async function readinessOf(api: Client) {
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

type Count = Readonly<{ count: number; hasMore: boolean }>

async function count(api: Client, wanted: 'running' | 'queued'): Promise<Count> {
  const query = { status: wanted, limit: '200' }
  const { jobs, has_more } = await answerOf(parseResponse(api.jobs.$get({ query })))
  return { count: jobs.length, hasMore: has_more }
}

const countText = ({ count, hasMore }: Count): string => `${hasMore ? 'more than ' : ''}${count}`

/** Between two looks at a log that grows. */
const lookAgainMs = 1_000

export async function logs(
  reference: string,
  { follow = false, ...options }: Options & Readonly<{ follow?: boolean }>,
): Promise<void> {
  const api = connect(options)
  const id = await findJobId(api, reference)
  if (!follow) {
    const text = await (await responseOf(api.jobs[':id'].log.$get({ param: { id } }))).text()
    if (options.json) show({ id, log: text }, options, () => '')
    else process.stdout.write(plainLines(text))
    return
  }
  using interruption = listenForInterruption(() => `Job ${shortId(id)} goes on.`)
  await unlessInterrupted(interruption, () => followLog(api, id, options, interruption.signal))
}

async function followLog(
  api: Client,
  id: string,
  { json }: OutputOptions,
  signal: AbortSignal,
): Promise<void> {
  const shown = new Map<string, number>()
  let isLost = false
  for (;;) {
    try {
      // Asked before the log: of a job that is over by then, nothing can come after it.
      const job = await answerOf(parseResponse(api.status[':id'].$get({ param: { id } })))
      const log = await (await responseOf(api.jobs[':id'].log.$get({ param: { id } }))).text()
      for (const line of newLines(log, shown, isOver(job))) {
        if (json) showEvent({ event: 'line', line })
        else process.stdout.write(`${plainLines(line)}\n`)
      }
      if (isOver(job)) return
      isLost = false
    } catch (error) {
      if (!(error instanceof UnreachableError)) throw error
      if (!isLost) say(`${error.message} Waiting for it.`)
      isLost = true
    }
    await delay(lookAgainMs, undefined, { signal })
  }
}

/**
 * The lines that have not been shown as often as they are there. Not by their place: a service that
 * takes up a generation again writes its log anew, and perhaps in another order.
 */
function newLines(log: string, shown: Map<string, number>, isWhole: boolean): string[] {
  const lines = log.split('\n')
  const last = lines.pop()
  if (isWhole && last) lines.push(last)
  const counts = new Map<string, number>()
  return lines.filter((line) => {
    const count = (counts.get(line) ?? 0) + 1
    counts.set(line, count)
    if (count <= (shown.get(line) ?? 0)) return false
    shown.set(line, count)
    return true
  })
}

export async function cancel(
  references: readonly string[],
  options: Options & Readonly<{ all?: boolean; status?: string }>,
): Promise<void> {
  const { all, status: wanted } = options
  const ways = [references.length > 0, all, wanted !== undefined].filter(Boolean)
  if (ways.length !== 1) {
    throw new CommandError(exitCodes.usage, 'Say which: jobs, --status or --all.')
  }
  const api = connect(options)
  const ids = await Promise.all(references.map((reference) => findJobId(api, reference)))
  const query = all
    ? ({ all: 'true' } as const)
    : wanted
      ? { status: wanted }
      : { ids: ids.join(',') }
  const answer = await answerOf(parseResponse(api.jobs.$delete({ query })))
  show(answer, options, () => {
    const { canceled, canceling, unchanged, not_found } = answer
    const lines = [
      ...canceled.map(({ id }) => `${shortId(id)} canceled`),
      ...canceling.map(
        ({ id }) => `${shortId(id)} is being canceled; its process has not ended yet`,
      ),
      ...unchanged.map((job) => `${shortId(job.id)} was over: ${job.status}`),
      ...not_found.map((id) => `${shortId(id)} is not known`),
    ]
    return lines.length > 0 ? lines.join('\n') : 'Nothing was queued or running.'
  })
  if (answer.not_found.length > 0) process.exitCode = exitCodes.notFound
}

const statusText = (job: Job): string =>
  job.status === 'running'
    ? `running: ${stageText(job)}, ${Math.floor(job.progress * 100)} %`
    : job.status

function tookText({ started_at, ended_at }: Job): string | null {
  if (started_at === null || ended_at === null) return null
  return duration((Date.parse(ended_at) - Date.parse(started_at)) / 1000)
}

/** "2026-07-31 14:05:09", as the clock on the wall has it. */
function localTime(iso: string): string {
  return new Date(iso).toLocaleString('sv-SE')
}
