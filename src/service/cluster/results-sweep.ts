/** The leader's care for a shared directory of results: what other nodes left there and do not remove. */
import { type Repetition, repeat } from '../../cluster/repeat.ts'
import type { Logger } from '../../domain/log.ts'
import { isSuccessful } from '../../domain/video-file.ts'
import type { ResultsDirectory } from '../../infra/disk/results-directory.ts'
import type { LeftoverOptions } from '../../infra/media/leftover-results.ts'
import type { JobStore } from '../../infra/store/job-store.ts'
import { tidyResults } from './tidy-results.ts'

export type ResultsSweepOptions = Readonly<{
  results: ResultsDirectory
  jobs: Pick<JobStore, 'find' | 'videosToDelete'>
  log: Logger
}>

const everyMs = 3_600_000

export function sweepResults({ results, jobs, log }: ResultsSweepOptions): Repetition {
  const options: LeftoverOptions = {
    results,
    find: (jobId) => jobs.find(jobId, 'everything'),
    async recorded(filenames) {
      const found = await jobs.videosToDelete({ filenames }, 'everything')
      return new Set(found.filter(isSuccessful).map(({ state }) => state.filename))
    },
  }
  return repeat(everyMs, () => tidyResults(options, log))
}
