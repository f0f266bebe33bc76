import type { Kysely } from 'kysely'

/** What ended lately is found without reading what ended long ago. */
export async function up(db: Kysely<never>): Promise<void> {
  await db.schema.createIndex('job_by_end').on('job').column('ended_at').execute()
  await db.schema.createIndex('attempt_by_end').on('attempt').column('ended_at').execute()
}

export async function down(db: Kysely<never>): Promise<void> {
  await db.schema.dropIndex('attempt_by_end').execute()
  await db.schema.dropIndex('job_by_end').execute()
}
