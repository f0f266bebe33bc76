import { type Kysely, sql } from 'kysely'
import { isPostgres } from '../dialect.ts'

/** Which data directory a GPU belongs to: another machine may take the name of a node. Null: the next one of that name. */
export async function up(db: Kysely<never>): Promise<void> {
  if (!isPostgres(db)) return
  await sql`alter table node_gpu add column home text`.execute(db)
  await sql`update node_gpu set home = node.home from node where node.name = node_gpu.node`.execute(
    db,
  )
  await sql`alter table node_gpu drop constraint node_gpu_node_device_key`.execute(db)
}

export async function down(db: Kysely<never>): Promise<void> {
  if (!isPostgres(db)) return
  await sql`alter table node_gpu drop column home`.execute(db)
  await sql`alter table node_gpu add unique (node, device)`.execute(db)
}
