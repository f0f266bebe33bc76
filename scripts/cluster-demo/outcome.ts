/** The outcome of the jobs of the demo: a table, and the jobs that were lost. */
import type { JobJson } from '../../src/http/views/job-view.ts'

export type DemoJob = Readonly<{
  prompt: string
  /** Node that received the request. */
  through: string
  /** Undefined: the cluster does not know the job. */
  job: JobJson | undefined
  /** Length of its video, as another node sent it. */
  received: number | undefined
  /** Generations of it that ran to their end, by their own account. */
  completed: number
}>

export function tableOf(jobs: readonly DemoJob[]): string {
  const rows = jobs.map(({ through, job }, index) => [
    String(index + 1),
    through,
    job?.node ?? '',
    job ? String(job.gpu_id ?? '') : '',
    job ? String(job.attempt) : '',
    job?.status ?? 'unknown',
    secondsBetween(job?.submitted_at, job?.started_at),
    secondsBetween(job?.started_at, job?.ended_at),
  ])
  const heads = ['job', 'sent to', 'ran on', 'GPU', 'attempts', 'state', 'waited', 'took']
  const widths = heads.map((head, column) =>
    Math.max(head.length, ...rows.map((row) => row[column]?.length ?? 0)),
  )
  return [heads, widths.map((width) => '-'.repeat(width)), ...rows]
    .map((row) => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  '))
    .map((line) => `  ${line.trimEnd()}`)
    .join('\n')
}

/** One sentence for each loss; none: nothing was lost. */
export function lossesOf(jobs: readonly DemoJob[]): readonly string[] {
  return jobs.flatMap((one, index) => {
    const loss = lossOf(one)
    return loss === undefined ? [] : [`job ${index + 1} ${loss}`]
  })
}

/** One sentence for each job that was generated more than once: that costs time, and loses nothing. */
export const repeatsOf = (jobs: readonly DemoJob[]): readonly string[] =>
  jobs.flatMap(({ completed }, index) =>
    completed > 1 ? [`Job ${index + 1} was generated ${completed} times.`] : [],
  )

function lossOf({ job, received }: DemoJob): string | undefined {
  if (!job) return 'is not known any more'
  if (job.status !== 'success') return `is ${job.status}: ${job.error?.message ?? 'no error'}`
  if (received !== job.file?.bytes) {
    return `has a video of ${job.file?.bytes} bytes, of which ${received ?? 0} arrived`
  }
  return undefined
}

const secondsBetween = (from: string | null | undefined, to: string | null | undefined): string =>
  from && to ? `${((Date.parse(to) - Date.parse(from)) / 1000).toFixed(1)} s` : ''
