import { type Kysely, sql } from 'kysely'
import { isPostgres } from '../dialect.ts'

/**
 * The GPUs of all nodes, the keys that nodes share, and the images of open jobs, which any node may run. With SQLite
 * there is one node, and its data directory has all of these.
 */
export async function up(db: Kysely<never>): Promise<void> {
  if (!isPostgres(db)) return
  await sql`
    create table node_gpu (
      id integer primary key check (id >= 0),
      node text not null,
      device text not null,
      name text,
      uuid text,
      unique (node, device)
    )
  `.execute(db)
  await sql`
    create table cluster_key (
      one boolean primary key default true check (one),
      secret text not null,
      link_key text not null
    )
  `.execute(db)
  // The row of the job is written after those of its image. Parts pass a slow line within the time limit of a query.
  await sql`
    create table image (
      job_id text not null,
      part integer not null,
      bytes bytea not null,
      primary key (job_id, part)
    )
  `.execute(db)
  // Images are compressed already.
  await sql`alter table image alter column bytes set storage external`.execute(db)
}

export async function down(db: Kysely<never>): Promise<void> {
  if (!isPostgres(db)) return
  for (const table of ['image', 'cluster_key', 'node_gpu']) {
    await db.schema.dropTable(table).execute()
  }
}
