/** `wanctl list` and `wanctl cancel`. */
import { parseResponse } from '../../http/typed-client.ts'
import { CommandError, exitCodes } from '../failure.ts'
import { isOver } from '../follow.ts'
import { findJobId, latestJobs, shortId } from '../job-reference.ts'
import { type OutputOptions, show } from '../output.ts'
import { answerOf, connect } from '../service.ts'
import { duration, localTime, table } from '../text.ts'

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
