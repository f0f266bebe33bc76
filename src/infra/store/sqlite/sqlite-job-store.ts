import type { Kysely } from 'kysely'
import { DiskFullError, StoreLockedError } from '../../../domain/errors.ts'
import type { Reserve } from '../../disk/reserve.ts'
import { createJobCache, type JobCache } from '../../fast/job-cache.ts'
import { createJobReads } from '../job-reads.ts'
import { type JobStore, jobsIn } from '../job-store.ts'
import type { Database } from '../schema.ts'
import {
  type AttemptContext,
  applyAll,
  StaleOperationError,
  type StoreOperation,
} from '../store-operations.ts'
import { transact } from '../transact.ts'
import { describeTrouble, isLocked, writeTroubleOf } from './sqlite-errors.ts'

export type JobStoreOptions = Readonly<{
  reserve?: Pick<Reserve, 'release'>
  context?: AttemptContext
  cache?: JobCache
}>

/** Jobs at rest: written in commits, all or nothing, and read by whoever may see them. */
export function createJobStore(
  db: Kysely<Database>,
  {
    reserve,
    context = { task: 'ti2v-5B', gpuModels: new Map() },
    cache = createJobCache(),
  }: JobStoreOptions = {},
): JobStore {
  return {
    ...createJobReads(db, cache),

    async commit(operations) {
      const write = () => transact(db, (connection) => applyAll(connection, operations, context))
      try {
        await write().catch((error: unknown) => {
          // The reserve relieves a quota, too.
          if (!writeTroubleOf(error) || operations.every(canWait) || !reserve?.release())
            throw error
          return write()
        })
        return { how: 'committed' }
      } catch (error) {
        if (error instanceof StaleOperationError) return { how: 'stale', why: error.message }
        if (isLocked(error)) {
          const why = 'another program holds the lock of the database'
          return { how: 'locked', error: new StoreLockedError(why, { cause: error }) }
        }
        const trouble = writeTroubleOf(error)
        if (!trouble) throw error
        return { how: 'full', error: new DiskFullError(describeTrouble[trouble], { cause: error }) }
      } finally {
        cache.forget(jobsIn(operations))
      }
    },
  }
}

/** What nobody has been promised yet and nothing has begun on: it is not worth the reserve. */
const canWait = ({ op }: StoreOperation): boolean =>
  op === 'submit' || op === 'remember' || op === 'claim' || op === 'pin'
