import type { Kysely } from 'kysely'

/** What a video should not show; null: nobody said. */
export async function up(db: Kysely<never>): Promise<void> {
  await db.schema.alterTable('job').addColumn('negative_prompt', 'text').execute()
}

export async function down(db: Kysely<never>): Promise<void> {
  await db.schema.alterTable('job').dropColumn('negative_prompt').execute()
}
