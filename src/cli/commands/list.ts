/** `wanctl list`. */
import { isOver } from '../client/follow.ts'
import { latestJobs, shortId } from '../client/job-reference.ts'
import { connect, type ServiceOptions } from '../client/service.ts'
import { show } from '../terminal/output.ts'
import { duration, localTime, table } from '../terminal/text.ts'

export async function list(
  options: ServiceOptions & Readonly<{ status?: string; limit: number }>,
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
