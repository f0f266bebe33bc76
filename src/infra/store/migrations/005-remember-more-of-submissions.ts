import { type Kysely, sql } from 'kysely'

/** What a job was made from, whether it is deleted, and which request it was taken for. */
export async function up(db: Kysely<never>): Promise<void> {
  const columns = { shift: 'real', image: 'text', remix_of: 'text', deleted_at: 'integer' } as const
  for (const [name, type] of Object.entries(columns)) {
    await db.schema.alterTable('job').addColumn(name, type).execute()
  }
  await db.schema
    .createTable('submission')
    .addColumn('job_id', 'text', (column) =>
      column.primaryKey().references('job.id').onDelete('cascade'),
    )
    .addColumn('caller', 'text', (column) => column.notNull())
    .addColumn('key', 'text')
    .addColumn('fingerprint', 'text', (column) => column.notNull())
    .addColumn('at', 'integer', (column) => column.notNull())
    .execute()
  // Two jobs are never taken for one key: the database says so too.
  await sql`
    create unique index one_job_per_key on submission (caller, key) where key is not null
  `.execute(db)
  await db.schema
    .createIndex('submission_by_fingerprint')
    .on('submission')
    .columns(['caller', 'fingerprint', 'at'])
    .execute()
  await db.schema.createIndex('submission_by_age').on('submission').column('at').execute()
}

export async function down(db: Kysely<never>): Promise<void> {
  await db.schema.dropTable('submission').execute()
  for (const name of ['shift', 'image', 'remix_of', 'deleted_at']) {
    await db.schema.alterTable('job').dropColumn(name).execute()
  }
}
