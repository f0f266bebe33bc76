import type { Kysely, Selectable } from 'kysely'
import type { DeliveryStore, Verdict } from '../../actors/webhook/webhook-ports.ts'
import { findDue, findFailingLines } from './due-deliveries.ts'
import type { Database } from './schema.ts'
import { inScope, readClock, writeWebhooks } from './webhook-queries.ts'
import { deliveryRow, toDelivery, toDue, toWebhook } from './webhook-rows.ts'

/** The outbox of webhooks. */
export function createDeliveryStore(db: Kysely<Database>): DeliveryStore {
  return {
    async deliveries(id, scope, { limit, after }) {
      const webhook = db.selectFrom('webhook').select('id').where('id', '=', id)
      if (!(await webhook.where(inScope(scope)).executeTakeFirst())) return undefined
      let query = db
        .selectFrom('delivery')
        .selectAll()
        .where('webhook_id', '=', id)
        .orderBy('seq', 'desc')
        .limit(limit + 1)
      if (after) {
        const seqOfAfter = db
          .selectFrom('delivery')
          .select('seq')
          .where('id', '=', after)
          .where('webhook_id', '=', id)
        query = query.where('seq', '<', seqOfAfter)
      }
      const rows = await query.execute()
      return { deliveries: rows.slice(0, limit).map(toDelivery), hasMore: rows.length > limit }
    },

    addTest: ({ id, webhookId, at, steady }, scope) =>
      writeWebhooks(db, async (trx) => {
        const row = await trx
          .selectFrom('webhook')
          .selectAll()
          .where('id', '=', webhookId)
          .where(inScope(scope))
          .executeTakeFirst()
        if (!row) return { outcome: 'not_found' }
        if (row.disabled_at !== null) return { outcome: 'disabled', webhookId }
        const webhook = toWebhook(row)
        const added = await trx
          .insertInto('delivery')
          .values(deliveryRow({ id, webhook, event: 'webhook.test', jobId: null, at, steady }))
          .returningAll()
          .executeTakeFirstOrThrow()
        return { outcome: 'pending', delivery: toDelivery(added) }
      }),

    replay: (id, scope, steady) =>
      writeWebhooks(db, async (trx) => {
        const webhook = await trx
          .selectFrom('webhook')
          .select(['id', 'disabled_at'])
          .where('id', '=', ({ selectFrom }) =>
            selectFrom('delivery').select('webhook_id').where('delivery.id', '=', id),
          )
          .where(inScope(scope))
          .executeTakeFirst()
        if (!webhook) return { outcome: 'not_found' }
        if (webhook.disabled_at !== null) return { outcome: 'disabled', webhookId: webhook.id }
        const replayed = await trx
          .updateTable('delivery')
          .set({ status: 'pending', attempts: 0, since: steady, next_at: steady })
          .where('id', '=', id)
          .returningAll()
          .executeTakeFirstOrThrow()
        return { outcome: 'pending', delivery: toDelivery(replayed) }
      }),

    async pending() {
      const { pending, oldestAt } = await db
        .selectFrom('delivery')
        .where('status', '=', 'pending')
        .select(({ fn }) => [
          fn.countAll<number>().as('pending'),
          fn.min('created_at').as('oldestAt'),
        ])
        .executeTakeFirstOrThrow()
      return { pending, ...(oldestAt !== null && { oldestAt }) }
    },

    async due(steady, filter) {
      const rows = await findDue(db, steady, filter)
      const next = await db
        .selectFrom('delivery')
        .select(({ fn }) => fn.min('next_at').as('next_at'))
        .where('status', '=', 'pending')
        .where('next_at', '>', steady)
        .executeTakeFirst()
      return {
        deliveries: rows.map(toDue),
        ...(next?.next_at != null && { nextAt: next.next_at }),
      }
    },

    failingLines: () => findFailingLines(db),

    settle: (id, { at, attempts, result, ...verdict }) =>
      writeWebhooks(db, async (trx) => {
        const settled = await trx
          .updateTable('delivery')
          .set({
            status: verdict.become,
            attempts,
            next_at: verdict.become === 'pending' ? verdict.nextAt : null,
            last_at: at,
            last_status: result.how === 'answered' ? result.status : null,
            last_error: result.how === 'failed' ? result.error : null,
          })
          .where('id', '=', id)
          .returning(['webhook_id', 'job_id', 'seq'])
          .executeTakeFirst()
        if (settled) await scheduleFollowers(trx, settled, verdict)
        if (!settled || verdict.become !== 'failed' || !verdict.gone) return
        const { webhook_id } = settled
        await trx
          .updateTable('webhook')
          .set({ disabled_at: at })
          .where('id', '=', webhook_id)
          .execute()
        await trx
          .updateTable('delivery')
          .set({ status: 'failed', next_at: null, last_error: 'the receiver has said 410 Gone' })
          .where('webhook_id', '=', webhook_id)
          .where('status', '=', 'pending')
          .execute()
      }),

    tidy: (before) =>
      writeWebhooks(db, async (trx) => {
        await trx
          .deleteFrom('delivery')
          .where('status', '!=', 'pending')
          .where('created_at', '<', before)
          .where('last_at', '<', before)
          .execute()
        await trx
          .deleteFrom('webhook')
          .where('job_id', 'in', ({ selectFrom }) =>
            selectFrom('job').select('job.id').where('job.ended_at', '<', before),
          )
          .where(({ not, exists, selectFrom }) =>
            not(
              exists(
                selectFrom('delivery')
                  .select('seq')
                  .whereRef('delivery.webhook_id', '=', 'webhook.id'),
              ),
            ),
          )
          .execute()
      }),

    readClock: () => readClock(db),

    async keepClock({ steady, at }) {
      await db.updateTable('delivery_clock').set({ steady, at }).execute()
    },
  }
}

/**
 * Later events of the same job and webhook wait with the first: otherwise every search for due
 * deliveries would read them all, and leave them out.
 */
async function scheduleFollowers(
  trx: Kysely<Database>,
  {
    webhook_id,
    job_id,
    seq,
  }: Pick<Selectable<Database['delivery']>, 'webhook_id' | 'job_id' | 'seq'>,
  verdict: Verdict,
): Promise<void> {
  await trx
    .updateTable('delivery')
    .set(({ ref }) => ({
      next_at: verdict.become === 'pending' ? verdict.nextAt : ref('since'),
    }))
    .where('job_id', '=', job_id)
    .where('webhook_id', '=', webhook_id)
    .where('seq', '>', seq)
    .where('status', '=', 'pending')
    .execute()
}
