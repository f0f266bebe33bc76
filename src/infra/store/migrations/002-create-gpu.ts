import type { Kysely } from 'kysely'

/** What is remembered of each GPU beyond its jobs: drained, quarantined, its failures. */
export async function up(db: Kysely<never>): Promise<void> {
  await db.schema
    .createTable('gpu')
    .addColumn('id', 'integer', (column) => column.primaryKey())
    .addColumn('health', 'text', (column) => column.notNull())
    .execute()
}

export async function down(db: Kysely<never>): Promise<void> {
  await db.schema.dropTable('gpu').execute()
}
