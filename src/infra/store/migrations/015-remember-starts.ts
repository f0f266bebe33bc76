import { type Kysely, sql } from 'kysely'

/** How the generation of each attempt was started. All earlier versions started every one cold. */
export async function up(db: Kysely<never>): Promise<void> {
  await db.schema.alterTable('attempt').addColumn('start', 'text').execute()
  await sql`update attempt set start = 'cold' where started_at is not null`.execute(db)
}

export async function down(db: Kysely<never>): Promise<void> {
  await db.schema.alterTable('attempt').dropColumn('start').execute()
}
