import { type Kysely, sql } from 'kysely'

/** Cold runs are found among any number of warm ones. */
export async function up(db: Kysely<never>): Promise<void> {
  await sql`
    create index cold_run_by_task on attempt (task, ended_at)
    where start = 'cold' and outcome = 'success'
  `.execute(db)
}

export async function down(db: Kysely<never>): Promise<void> {
  await db.schema.dropIndex('cold_run_by_task').execute()
}
