import type { Kysely } from 'kysely'

/** How `generate.py` was called for each attempt. */
export async function up(db: Kysely<never>): Promise<void> {
  await db.schema.alterTable('attempt').addColumn('command', 'text').execute()
}

export async function down(db: Kysely<never>): Promise<void> {
  await db.schema.alterTable('attempt').dropColumn('command').execute()
}
