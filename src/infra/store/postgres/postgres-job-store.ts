import type { Kysely } from 'kysely'
import { DatabaseUnreachableError, DiskFullError } from '../../../domain/errors.ts'
import type { JobCache } from '../../fast/job-cache.ts'
import { createJobReads } from '../job-reads.ts'
import { type JobStore, jobsIn } from '../job-store.ts'
import type { Database } from '../schema.ts'
import { type AttemptContext, applyAll, StaleOperationError } from '../store-operations.ts'
import type { Line } from './writer.ts'

export type PostgresJobStoreOptions = Readonly<{
  /** That of the actor whose store this is. */
  line: Line
  context: AttemptContext
  cache: JobCache
}>

/** Jobs at rest: written in commits, all or nothing, and read by whoever may see them. */
export function createPostgresJobStore(
  db: Kysely<Database>,
  { line, context, cache }: PostgresJobStoreOptions,
): JobStore {
  const reads = createJobReads(db, cache)
  return {
    ...reads,

    /** A commit of the previous incarnation of the queue may still be under way. */
    async load(submittedSince) {
      await line.startAnew()
      cache.clear()
      return reads.load(submittedSince)
    },

    async commit(operations) {
      try {
        const how = await line.write((connection) => applyAll(connection, operations, context))
        if (how === 'written') return { how: 'committed' }
        cache.clear()
        return { how: 'stale', why: 'a change whose commit got no answer was stored after all' }
      } catch (error) {
        if (error instanceof StaleOperationError) return { how: 'stale', why: error.message }
        if (error instanceof DiskFullError) return { how: 'full', error }
        if (error instanceof DatabaseUnreachableError) return { how: 'unreachable', error }
        throw error
      } finally {
        cache.forget(jobsIn(operations))
      }
    },
  }
}
