import type { Kysely } from 'kysely'

/** Nodes whose GPUs are drained, also those that they get later. */
export async function up(db: Kysely<never>): Promise<void> {
  await db.schema
    .createTable('drained_node')
    .addColumn('name', 'text', (column) => column.primaryKey())
    .execute()
}

export async function down(db: Kysely<never>): Promise<void> {
  await db.schema.dropTable('drained_node').execute()
}
