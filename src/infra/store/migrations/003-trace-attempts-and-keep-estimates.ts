import { type Kysely, sql } from 'kysely'

/** Where the time of an attempt went, on what; and what was told of jobs, to be held against it. */
export async function up(db: Kysely<never>): Promise<void> {
  for (const column of ['task', 'gpu_model', 'trace']) {
    await sql`alter table attempt add column ${sql.ref(column)} text`.execute(db)
  }
  await db.schema
    .createTable('estimate')
    .addColumn('job_id', 'text', (column) =>
      column.notNull().references('job.id').onDelete('cascade'),
    )
    .addColumn('checkpoint', 'text', (column) => column.notNull())
    .addColumn('at', 'integer', (column) => column.notNull())
    .addColumn('source', 'text', (column) => column.notNull())
    .addColumn('p10', 'real', (column) => column.notNull())
    .addColumn('p50', 'real', (column) => column.notNull())
    .addColumn('p90', 'real', (column) => column.notNull())
    .addColumn('spread', 'real', (column) => column.notNull())
    .addPrimaryKeyConstraint('estimate_key', ['job_id', 'checkpoint'])
    .execute()
}

export async function down(db: Kysely<never>): Promise<void> {
  await db.schema.dropTable('estimate').execute()
  for (const column of ['task', 'gpu_model', 'trace']) {
    await sql`alter table attempt drop column ${sql.ref(column)}`.execute(db)
  }
}
