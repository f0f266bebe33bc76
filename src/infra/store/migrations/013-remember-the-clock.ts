import type { Kysely } from 'kysely'

/** When the service was last seen to run, by the wall clock and by the clock since the boot: one row. */
export async function up(db: Kysely<never>): Promise<void> {
  await db.schema
    .createTable('clock')
    .addColumn('id', 'integer', (column) => column.primaryKey())
    .addColumn('boot_id', 'text', (column) => column.notNull())
    .addColumn('boot_ms', 'integer', (column) => column.notNull())
    .addColumn('steady_at', 'integer', (column) => column.notNull())
    .addColumn('seen_at', 'integer', (column) => column.notNull())
    .addColumn('held_ms', 'integer', (column) => column.notNull())
    .addColumn('held_because', 'text')
    .execute()
}

export async function down(db: Kysely<never>): Promise<void> {
  await db.schema.dropTable('clock').execute()
}
