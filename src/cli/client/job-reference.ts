/** Jobs as people name them: by id, by the first characters of one, or as the latest. */
import * as v from 'valibot'
import { JobId } from '../../domain/job.ts'
import { type Client, type Job, parseResponse } from '../../http/typed-client.ts'
import { CommandError, exitCodes } from '../terminal/failure.ts'
import { plain } from '../terminal/text.ts'
import { answerOf } from './service.ts'

export const shortId = (id: string): string => id.slice(0, 8)

/** How many of the latest jobs are looked through for an id that begins as it was given. */
const lookedThrough = 1_000
const pageLength = 200

export async function findJobId(api: Client, reference: string): Promise<string> {
  const whole = v.safeParse(JobId, reference)
  if (whole.success) return whole.output
  if (reference !== 'latest' && !/^[0-9a-f-]{4,35}$/i.test(reference)) {
    throw new CommandError(
      exitCodes.usage,
      `${plain(reference)} is no job: give its id, at least four characters of it, or "latest".`,
    )
  }
  const matching: Job[] = []
  for await (const job of latestJobs(api, lookedThrough)) {
    if (reference === 'latest') return job.id
    if (job.id.startsWith(reference.toLowerCase())) matching.push(job)
  }
  const [job, other] = matching
  if (!job) {
    throw new CommandError(
      exitCodes.notFound,
      reference === 'latest'
        ? 'There is no job yet.'
        : `None of the latest ${lookedThrough} jobs has an id that begins with ${reference}.`,
    )
  }
  if (other) {
    throw new CommandError(
      exitCodes.usage,
      `More than one job has an id that begins with ${reference}.`,
    )
  }
  return job.id
}

/** The latest first, page by page. */
export async function* latestJobs(api: Client, most: number, status?: string): AsyncGenerator<Job> {
  let after: string | undefined
  for (let left = most; left > 0; left -= pageLength) {
    const limit = String(Math.min(left, pageLength))
    const query = { limit, ...(after && { after }), ...(status && { status }) }
    const page = await answerOf(parseResponse(api.jobs.$get({ query })))
    yield* page.jobs
    if (!page.has_more || page.next_after === null) return
    after = page.next_after
  }
}
