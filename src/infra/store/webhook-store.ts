import type { Kysely } from 'kysely'
import type { RegistrationStore, WebhookStore } from '../../actors/webhook/webhook-ports.ts'
import type { WebhookSecret } from '../../domain/webhook.ts'
import { createDeliveryStore } from './delivery-store.ts'
import type { Database } from './schema.ts'
import { inScope, writeWebhooks } from './webhook-queries.ts'
import { toWebhook, webhookRow } from './webhook-rows.ts'

/** Webhooks and their outbox in SQLite. */
export const createWebhookStore = (db: Kysely<Database>): WebhookStore => ({
  ...createRegistrationStore(db),
  ...createDeliveryStore(db),
})

function createRegistrationStore(db: Kysely<Database>): RegistrationStore {
  return {
    register: (webhook, maxPerOwner) =>
      writeWebhooks(db, async (trx) => {
        const { count } = await trx
          .selectFrom('webhook')
          .select(({ fn }) => fn.countAll<number>().as('count'))
          .where('owner', 'is not distinct from', webhook.owner)
          .where('job_id', 'is', null)
          .executeTakeFirstOrThrow()
        if (count >= maxPerOwner) return 'too_many'
        await trx.insertInto('webhook').values(webhookRow(webhook)).execute()
        return 'registered'
      }),

    async list(scope) {
      const rows = await db
        .selectFrom('webhook')
        .selectAll()
        .where('job_id', 'is', null)
        .where(inScope(scope))
        .orderBy('created_at')
        .orderBy('id')
        .execute()
      return rows.map(toWebhook)
    },

    async find(id, scope) {
      const row = await db
        .selectFrom('webhook')
        .selectAll()
        .where('id', '=', id)
        .where(inScope(scope))
        .executeTakeFirst()
      return row && toWebhook(row)
    },

    remove: (id, scope) =>
      writeWebhooks(db, async (trx) => {
        const row = await trx
          .deleteFrom('webhook')
          .where('id', '=', id)
          .where(inScope(scope))
          .returningAll()
          .executeTakeFirst()
        return row && toWebhook(row)
      }),

    changeSecrets: (id, scope, change) =>
      writeWebhooks(db, async (trx) => {
        const row = await trx
          .selectFrom('webhook')
          .selectAll()
          .where('id', '=', id)
          .where(inScope(scope))
          .executeTakeFirst()
        if (!row) return { outcome: 'not_found' }
        const before = JSON.parse(row.secrets) as WebhookSecret[]
        const secrets = change(before)
        if (!secrets) return { outcome: 'refused', secrets: before }
        await trx
          .updateTable('webhook')
          .set({ secrets: JSON.stringify(secrets) })
          .where('id', '=', id)
          .execute()
        return { outcome: 'changed', webhook: toWebhook(row) }
      }),

    enable: (id, scope, registrants) =>
      writeWebhooks(db, async (trx) => {
        const row = await trx
          .selectFrom('webhook')
          .selectAll()
          .where('id', '=', id)
          .where(inScope(scope))
          .executeTakeFirst()
        if (!row) return undefined
        const registered_by = JSON.stringify(registrants(toWebhook(row)))
        const enabled = await trx
          .updateTable('webhook')
          .set({ disabled_at: null, registered_by })
          .where('id', '=', id)
          .returningAll()
          .executeTakeFirstOrThrow()
        return toWebhook(enabled)
      }),

    async attribute(registeredBy) {
      await db
        .updateTable('webhook')
        .set({ registered_by: JSON.stringify(registeredBy) })
        .where('registered_by', 'is', null)
        .execute()
    },
  }
}
