import { LRUCache } from 'lru-cache'
import type { JobId } from '../../domain/job.ts'

/** More repetitions than clients send while one request waits for its video. */
const maxJobs = 10_000

export type RepeatedJobs = ReturnType<typeof createRepeatedJobs>

/** Jobs that several requests received, by a repeated submission: no single request may cancel them by hanging up. */
export function createRepeatedJobs() {
  const known = new LRUCache<JobId, true>({ max: maxJobs })
  return {
    add: (jobId: JobId): void => void known.set(jobId, true),
    has: (jobId: JobId): boolean => known.has(jobId),
  }
}
