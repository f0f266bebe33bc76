import { type Kysely, sql } from 'kysely'
import { isPostgres } from '../dialect.ts'

/** Who is told of the ends of jobs, and the outbox of what they are told. */
export async function up(db: Kysely<never>): Promise<void> {
  await db.schema
    .createTable('webhook')
    .addColumn('id', 'text', (column) => column.primaryKey())
    .addColumn('owner', 'text')
    .addColumn('job_id', 'text', (column) => column.references('job.id').onDelete('cascade'))
    .addColumn('url', 'text', (column) => column.notNull())
    .addColumn('events', 'text', (column) => column.notNull())
    .addColumn('secrets', 'text', (column) => column.notNull())
    .addColumn('created_at', 'integer', (column) => column.notNull())
    .addColumn('disabled_at', 'integer')
    .execute()
  await db.schema.createIndex('webhook_by_job').on('webhook').columns(['job_id', 'owner']).execute()

  await db.schema
    .createTable('delivery')
    .addColumn('seq', 'integer', (column) =>
      isPostgres(db) ? column.primaryKey().generatedByDefaultAsIdentity() : column.primaryKey(),
    )
    .addColumn('id', 'text', (column) => column.notNull().unique())
    .addColumn('webhook_id', 'text', (column) =>
      column.notNull().references('webhook.id').onDelete('cascade'),
    )
    .addColumn('receiver', 'text', (column) => column.notNull())
    .addColumn('event', 'text', (column) => column.notNull())
    .addColumn('job_id', 'text', (column) => column.references('job.id').onDelete('cascade'))
    .addColumn('created_at', 'integer', (column) => column.notNull())
    .addColumn('since', 'integer', (column) => column.notNull())
    .addColumn('status', 'text', (column) =>
      column.notNull().check(sql`status in ('pending', 'delivered', 'failed')`),
    )
    .addColumn('attempts', 'integer', (column) => column.notNull())
    .addColumn('next_at', 'integer')
    .addColumn('last_at', 'integer')
    .addColumn('last_status', 'integer')
    .addColumn('last_error', 'text')
    .execute()
  await db.schema
    .createIndex('delivery_by_webhook')
    .on('delivery')
    .columns(['webhook_id', 'seq'])
    .execute()
  await db.schema
    .createIndex('delivery_by_job')
    .on('delivery')
    .columns(['job_id', 'webhook_id', 'seq'])
    .execute()
  await sql`create index delivery_pending on delivery (next_at) where status = 'pending'`.execute(
    db,
  )
}

export async function down(db: Kysely<never>): Promise<void> {
  await db.schema.dropTable('delivery').execute()
  await db.schema.dropTable('webhook').execute()
}
