/** The database as the main thread uses it: it reads here, and has the database thread write. */
import { Kysely } from 'kysely'
import type { Check } from '../../../../domain/check.ts'
import { DiskFullError, StoreLockedError } from '../../../../domain/errors.ts'
import { createJobCache } from '../../../fast/job-cache.ts'
import { createEtaStore } from '../../eta-store.ts'
import { type JobStore, jobsIn } from '../../job-store.ts'
import type { Database } from '../../schema.ts'
import { openForReading } from '../database.ts'
import { createJobStore } from '../sqlite-job-store.ts'
import { backUpOnThread } from './back-up.ts'
import { startThread } from './database-thread.ts'
import type { ThreadCalls, ThreadSettings } from './thread-calls.ts'
import { createThreadDialect } from './thread-dialect.ts'

export type RunningDatabase = Awaited<ReturnType<typeof startDatabase>>

/**
 * Opens and migrates the database on a thread. Rejects with `UnusableDatabaseError`. `onLost` is called
 * when the thread has died or another service has taken the database: nothing can be written any more.
 */
export async function startDatabase(settings: ThreadSettings, onLost: (error: Error) => void) {
  const thread = await startThread(settings, onLost)
  const reader = openForReading(settings.path)
  const dialect = createThreadDialect(reader, thread)
  const db = new Kysely<Database>({ dialect })
  return {
    db,
    jobs: createThreadJobStore(db, thread),
    eta: {
      ...createEtaStore(db, settings),
      record: (...args: Parameters<ThreadCalls['record']>) => thread.call('record', ...args),
    },
    check: (): Promise<Check> => thread.call('check'),
    backup: (to: string) => backUpOnThread({ path: settings.path, to }),
    async close(): Promise<void> {
      await db.destroy()
      // The last connection to close writes the journal back: that of the thread.
      reader.close()
      await thread.close()
    },
  }
}

/** A commit is a single message, with all its operations. */
function createThreadJobStore(
  db: Kysely<Database>,
  { call }: Pick<Awaited<ReturnType<typeof startThread>>, 'call'>,
): JobStore {
  const cache = createJobCache()
  const store = createJobStore(db, { cache })
  return {
    ...store,
    /** A commit of the previous incarnation of the queue may still be under way. */
    async load(submittedSince) {
      await call('pass')
      return store.load(submittedSince)
    },
    async commit(operations) {
      try {
        return await call('commit', operations)
      } catch (error) {
        if (error instanceof DiskFullError) return { how: 'full', error }
        if (error instanceof StoreLockedError) return { how: 'locked', error }
        throw error
      } finally {
        cache.forget(jobsIn(operations))
      }
    },
  }
}
