import { type Kysely, sql } from 'kysely'
import { isPostgres } from '../dialect.ts'

/** Whether each node of the cluster has a directory of results of its own, or all of them share one. */
export async function up(db: Kysely<never>): Promise<void> {
  if (!isPostgres(db)) return
  await sql`
    alter table cluster_key add column results text not null default 'own' check (results in ('own', 'shared'))
  `.execute(db)
}

export async function down(db: Kysely<never>): Promise<void> {
  if (!isPostgres(db)) return
  await sql`alter table cluster_key drop column results`.execute(db)
}
