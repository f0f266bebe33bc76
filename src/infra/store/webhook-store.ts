import { type Insertable, type Kysely, type Selectable, sql } from 'kysely'
import type { DueDelivery, WebhookStore } from '../../actors/webhook/webhook-ports.ts'
import type { Scope } from '../../domain/client.ts'
import { DiskFullError } from '../../domain/errors.ts'
import type { JobId, Timestamp } from '../../domain/job.ts'
import {
  type Delivery,
  eventsOfEnd,
  type JobEvent,
  newDeliveryId,
  receiverOf,
  type Webhook,
  type WebhookSecret,
} from '../../domain/webhook.ts'
import { isDiskFull, transact } from './database.ts'
import type { Database } from './schema.ts'

/** Of what is due, in one go: more than are ever sent at once. */
const maxAtOnce = 1_000

/** Webhooks and their outbox at rest: the only module that knows what they look like in SQL. */
export function createWebhookStore(db: Kysely<Database>): WebhookStore {
  const webhooks = (scope: Scope) => {
    const all = db.selectFrom('webhook').selectAll()
    if (scope === 'everything') return all
    return 'owner' in scope
      ? all.where('owner', '=', scope.owner)
      : all.where('job_id', '=', scope.jobId)
  }
  const write = (work: (connection: Kysely<Database>) => Promise<unknown>): Promise<void> =>
    transact(db, async (connection) => void (await work(connection))).catch((error: unknown) => {
      if (!isDiskFull(error)) throw error
      throw new DiskFullError('the database has no room to write', { cause: error })
    })

  return {
    add: (webhook) =>
      write((trx) => trx.insertInto('webhook').values(webhookRow(webhook)).execute()),

    async count(owner) {
      const { count } = await db
        .selectFrom('webhook')
        .select(({ fn }) => fn.countAll<number>().as('count'))
        .where('owner', 'is', owner)
        .where('job_id', 'is', null)
        .executeTakeFirstOrThrow()
      return count
    },

    async list(scope) {
      const rows = await webhooks(scope)
        .where('job_id', 'is', null)
        .orderBy('created_at')
        .orderBy('id')
        .execute()
      return rows.map(toWebhook)
    },

    async find(id, scope) {
      const row = await webhooks(scope).where('id', '=', id).executeTakeFirst()
      return row && toWebhook(row)
    },

    remove: (id) => write((trx) => trx.deleteFrom('webhook').where('id', '=', id).execute()),

    async secrets(id) {
      const row = await db
        .selectFrom('webhook')
        .select('secrets')
        .where('id', '=', id)
        .executeTakeFirst()
      return row ? (JSON.parse(row.secrets) as WebhookSecret[]) : []
    },

    setSecrets: (id, secrets) =>
      write((trx) =>
        trx
          .updateTable('webhook')
          .set({ secrets: JSON.stringify(secrets) })
          .where('id', '=', id)
          .execute(),
      ),

    enable: (id) =>
      write((trx) =>
        trx.updateTable('webhook').set({ disabled_at: null }).where('id', '=', id).execute(),
      ),

    addTest: (id, webhook, at) =>
      write((trx) =>
        trx
          .insertInto('delivery')
          .values(deliveryRow({ id, webhook, event: 'webhook.test', jobId: null, at }))
          .execute(),
      ),

    async deliveries(id, { limit, after }) {
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

    async findDelivery(id) {
      const row = await db
        .selectFrom('delivery')
        .selectAll()
        .where('id', '=', id)
        .executeTakeFirst()
      return row && toDelivery(row)
    },

    replay: (id, at) =>
      write((trx) =>
        trx
          .updateTable('delivery')
          .set({ status: 'pending', attempts: 0, since: at, next_at: at })
          .where('id', '=', id)
          .execute(),
      ),

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

    async due(at, { inFlight, notTo, perReceiver }) {
      const pending = db.selectFrom('delivery').where('delivery.status', '=', 'pending')
      // One receiver with a long backlog leaves room for those of all others.
      const ranked = pending
        .innerJoin('webhook', 'webhook.id', 'delivery.webhook_id')
        .selectAll('delivery')
        .select(['webhook.url', 'webhook.secrets'])
        .select(
          sql<number>`row_number() over (partition by receiver order by next_at, seq)`.as('place'),
        )
        .where('next_at', '<=', at)
        .where(({ not, exists, selectFrom }) =>
          not(
            exists(
              selectFrom('delivery as earlier')
                .select('earlier.seq')
                .whereRef('earlier.job_id', '=', 'delivery.job_id')
                .whereRef('earlier.webhook_id', '=', 'delivery.webhook_id')
                .whereRef('earlier.seq', '<', 'delivery.seq')
                .where('earlier.status', '=', 'pending'),
            ),
          ),
        )
        .where('delivery.id', 'not in', [...inFlight])
        .where('receiver', 'not in', [...notTo])
      const rows = await db
        .selectFrom(ranked.as('ranked'))
        .selectAll()
        .where('place', '<=', perReceiver)
        .limit(maxAtOnce)
        .orderBy('next_at')
        .orderBy('seq')
        .execute()
      const next = await pending
        .select(({ fn }) => fn.min('next_at').as('next_at'))
        .where('next_at', '>', at)
        .executeTakeFirst()
      return {
        deliveries: rows.map(toDue),
        ...(next?.next_at != null && { nextAt: next.next_at }),
      }
    },

    settle: (id, { at, attempts, result, ...verdict }) =>
      write(async (trx) => {
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
          .returning('webhook_id')
          .executeTakeFirst()
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
      write(async (trx) => {
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
  }
}

/** What ends a job is told, in the same commit, to all who want to know. */
export async function writeDeliveries(
  trx: Kysely<Database>,
  jobId: JobId,
  status: keyof typeof eventsOfEnd,
  at: Timestamp,
): Promise<void> {
  const rows = await trx
    .selectFrom('webhook')
    .innerJoin('job', (join) => join.on('job.id', '=', jobId))
    .selectAll('webhook')
    .where('disabled_at', 'is', null)
    .where(({ or, and, eb }) =>
      or([
        eb('webhook.job_id', '=', jobId),
        and([
          eb('webhook.job_id', 'is', null),
          or([eb('webhook.owner', 'is', null), eb('webhook.owner', '=', eb.ref('job.owner'))]),
        ]),
      ]),
    )
    .orderBy('webhook.created_at')
    .execute()
  const deliveries = rows
    .map(toWebhook)
    .flatMap((webhook) =>
      eventsOfEnd[status]
        .filter((event) => webhook.events.includes(event))
        .map((event) => deliveryRow({ id: newDeliveryId(), webhook, event, jobId, at })),
    )
  if (deliveries.length > 0) await trx.insertInto('delivery').values(deliveries).execute()
}

export function webhookRow({
  id,
  owner,
  jobId,
  url,
  events,
  createdAt,
  secret,
}: Parameters<WebhookStore['add']>[0]): Insertable<Database['webhook']> {
  return {
    id,
    owner,
    job_id: jobId ?? null,
    url,
    events: JSON.stringify(events),
    secrets: JSON.stringify([{ key: secret }] satisfies WebhookSecret[]),
    created_at: createdAt,
  }
}

function deliveryRow({
  id,
  webhook,
  event,
  jobId,
  at,
}: Readonly<{
  id: Delivery['id']
  webhook: Webhook
  event: Delivery['event']
  jobId: JobId | null
  at: Timestamp
}>): Insertable<Database['delivery']> {
  return {
    id,
    webhook_id: webhook.id,
    receiver: receiverOf(webhook.url),
    event,
    job_id: jobId,
    created_at: at,
    since: at,
    status: 'pending',
    attempts: 0,
    next_at: at,
  }
}

const toWebhook = (row: Selectable<Database['webhook']>): Webhook => ({
  id: row.id,
  owner: row.owner,
  url: row.url,
  events: JSON.parse(row.events) as JobEvent[],
  createdAt: row.created_at,
  ...(row.job_id !== null && { jobId: row.job_id }),
  ...(row.disabled_at !== null && { disabledAt: row.disabled_at }),
})

const toDelivery = (row: Selectable<Database['delivery']>): Delivery => ({
  id: row.id,
  webhookId: row.webhook_id,
  event: row.event,
  createdAt: row.created_at,
  status: row.status,
  attempts: row.attempts,
  ...(row.job_id !== null && { jobId: row.job_id }),
  ...(row.next_at !== null && { nextAt: row.next_at }),
  ...(row.last_at !== null && { lastAt: row.last_at }),
  ...(row.last_status !== null && { lastStatus: row.last_status }),
  ...(row.last_error !== null && { lastError: row.last_error }),
})

const toDue = (
  row: Selectable<Database['delivery']> & { url: string; secrets: string },
): DueDelivery => ({
  id: row.id,
  webhookId: row.webhook_id,
  event: row.event,
  createdAt: row.created_at,
  since: row.since,
  attempts: row.attempts,
  url: row.url,
  receiver: row.receiver,
  secrets: JSON.parse(row.secrets) as WebhookSecret[],
  ...(row.job_id !== null && { jobId: row.job_id }),
})
