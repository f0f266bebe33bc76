import type { Kysely } from 'kysely'

/** What a client has noted on its job. */
export async function up(db: Kysely<never>): Promise<void> {
  await db.schema.alterTable('job').addColumn('metadata', 'text').execute()
}

export async function down(db: Kysely<never>): Promise<void> {
  await db.schema.alterTable('job').dropColumn('metadata').execute()
}
