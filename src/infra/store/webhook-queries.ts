/** Queries that the stores of webhooks and of deliveries share. */
import type { Expression, ExpressionBuilder, Kysely, SqlBool } from 'kysely'
import type { Now } from '../../actors/webhook/delivery-clock.ts'
import type { Scope } from '../../domain/client.ts'
import { DiskFullError, StoreLockedError } from '../../domain/errors.ts'
import type { Database } from './schema.ts'
import { describeTrouble, isLocked, writeTroubleOf } from './sqlite/sqlite-errors.ts'
import { transact } from './transact.ts'

/** Condition: the webhook is inside the scope. */
export const inScope =
  (scope: Scope) =>
  ({ eb }: ExpressionBuilder<Database, 'webhook'>): Expression<SqlBool> => {
    if (scope === 'everything') return eb.and([])
    return 'owner' in scope
      ? eb('webhook.owner', '=', scope.owner)
      : eb('webhook.job_id', '=', scope.jobId)
  }

/** What the clock of deliveries showed when it was last stored. */
export const readClock = (db: Kysely<Database>): Promise<Now> =>
  db.selectFrom('delivery_clock').select(['steady', 'at']).executeTakeFirstOrThrow()

/**
 * A transaction that rejects with `DiskFullError` when the disk is full or refuses to write, and with
 * `StoreLockedError` when another program holds the lock.
 */
export const writeWebhooks = <Result>(
  db: Kysely<Database>,
  work: (connection: Kysely<Database>) => Promise<Result>,
): Promise<Result> =>
  transact(db, work).catch((error: unknown) => {
    if (isLocked(error)) {
      throw new StoreLockedError('another program holds the lock of the database', { cause: error })
    }
    const trouble = writeTroubleOf(error)
    if (!trouble) throw error
    throw new DiskFullError(describeTrouble[trouble], { cause: error })
  })
