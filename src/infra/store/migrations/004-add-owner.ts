import type { Kysely } from 'kysely'

/** Whose each job is, and where it came from if that is counted. */
export async function up(db: Kysely<never>): Promise<void> {
  await db.schema.alterTable('job').addColumn('owner', 'text').execute()
  await db.schema.alterTable('job').addColumn('address', 'text').execute()
  await db.schema.createIndex('job_by_owner').on('job').columns(['owner', 'seq']).execute()
  await db.schema.createIndex('job_by_submission').on('job').column('submitted_at').execute()
}

export async function down(db: Kysely<never>): Promise<void> {
  await db.schema.dropIndex('job_by_submission').execute()
  await db.schema.dropIndex('job_by_owner').execute()
  await db.schema.alterTable('job').dropColumn('address').execute()
  await db.schema.alterTable('job').dropColumn('owner').execute()
}
