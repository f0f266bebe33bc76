import { type Kysely, sql } from 'kysely'
import { isPostgres } from '../dialect.ts'

/** Id of the directory of results that all nodes of the cluster share; null: each has one of its own. */
export async function up(db: Kysely<never>): Promise<void> {
  if (!isPostgres(db)) return
  await sql`alter table cluster_key add column results text`.execute(db)
}

export async function down(db: Kysely<never>): Promise<void> {
  if (!isPostgres(db)) return
  await sql`alter table cluster_key drop column results`.execute(db)
}
