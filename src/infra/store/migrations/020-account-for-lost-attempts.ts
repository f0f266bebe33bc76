import type { Kysely } from 'kysely'

/** When it became certain that no process of an attempt is left on the node that was lost with it. */
export async function up(db: Kysely<never>): Promise<void> {
  await db.schema.alterTable('attempt').addColumn('accounted_at', 'integer').execute()
}

export async function down(db: Kysely<never>): Promise<void> {
  await db.schema.alterTable('attempt').dropColumn('accounted_at').execute()
}
