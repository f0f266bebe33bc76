import { type Kysely, sql } from 'kysely'
import { isPostgres } from '../dialect.ts'

/**
 * Who registered each webhook, and a clock for deliveries that no correction of the wall clock moves.
 * The times of pending deliveries become times on that clock.
 */
export async function up(db: Kysely<never>): Promise<void> {
  const now = Date.now()
  const hourMs = 60 * 60 * 1000
  await sql`alter table webhook add column registered_by text`.execute(db)
  // An admin registered the others, or somebody without a token: the next start says who may have.
  // PostgreSQL has no webhooks yet: only databases of later versions have ever been there.
  if (!isPostgres(db))
    await sql`
    update webhook set registered_by = json_array(owner) where owner is not null
  `.execute(db)

  await db.schema
    .createTable('delivery_clock')
    .addColumn('id', 'integer', (column) => column.primaryKey().check(sql`id = 1`))
    .addColumn('steady', 'integer', (column) => column.notNull())
    .addColumn('at', 'integer', (column) => column.notNull())
    .execute()
  await sql`insert into delivery_clock (id, steady, at) values (1, ${now}, ${now})`.execute(db)
  // Times from a clock that was ahead would keep deliveries waiting; no back-off is longer.
  if (!isPostgres(db))
    await sql`
    update delivery set next_at = min(next_at, ${now + hourMs}), since = min(since, ${now})
    where status = 'pending'
  `.execute(db)

  // Finds the webhooks that have something pending, and what is due first of each.
  await sql`
    create index delivery_pending_by_webhook on delivery (webhook_id, next_at, seq)
    where status = 'pending'
  `.execute(db)
}

export async function down(db: Kysely<never>): Promise<void> {
  await db.schema.dropIndex('delivery_pending_by_webhook').execute()
  await db.schema.dropTable('delivery_clock').execute()
  await db.schema.alterTable('webhook').dropColumn('registered_by').execute()
}
