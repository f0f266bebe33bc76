import { LRUCache } from 'lru-cache'
import type { Job, JobId } from '../../domain/job.ts'

/** Enough for those that somebody looks at, and little beside the rest even if their prompts are long. */
const maxJobs = 1_000

export type JobCache = ReturnType<typeof createJobCache>

/** Jobs that were asked for lately, as the database has them: a poll is asked again and again. */
export function createJobCache() {
  const jobs = new LRUCache<JobId, Job>({ max: maxJobs })
  let changes = 0

  return {
    async find(jobId: JobId, read: () => Promise<Job | undefined>): Promise<Job | undefined> {
      const known = jobs.get(jobId)
      if (known) return known
      const before = changes
      const job = await read()
      // What was written while this was read may be newer than this.
      if (!job || changes !== before) return job
      jobs.set(jobId, job)
      return job
    },

    /** Any of them may have changed. */
    clear(): void {
      changes++
      jobs.clear()
    },

    /** They may have changed: to be told before anybody is told of the change. */
    forget(jobIds: Iterable<JobId>): void {
      changes++
      for (const jobId of jobIds) jobs.delete(jobId)
    },
  }
}
