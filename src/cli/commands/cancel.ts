/** `wanctl cancel`. */
import { parseResponse } from '../../http/typed-client.ts'
import { findJobId, shortId } from '../client/job-reference.ts'
import { answerOf, connect, type ServiceOptions } from '../client/service.ts'
import { CommandError, exitCodes } from '../terminal/failure.ts'
import { show } from '../terminal/output.ts'

export async function cancel(
  references: readonly string[],
  options: ServiceOptions & Readonly<{ all?: boolean; status?: string }>,
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
