import { type Kysely, sql } from 'kysely'
import { isPostgres } from '../dialect.ts'

/** Which node leads, and the number of its last commit. A SQLite database belongs to one service anyway. */
export async function up(db: Kysely<never>): Promise<void> {
  if (!isPostgres(db)) return
  await sql`
    create table leader (
      one boolean primary key default true check (one),
      term bigint not null,
      node text not null,
      home text not null,
      beat bigint not null,
      written bigint not null
    ) with (fillfactor = 10)
  `.execute(db)
  await sql`
    insert into leader (term, node, home, beat, written) values (0, '', '', 0, 0)
  `.execute(db)
}

export async function down(db: Kysely<never>): Promise<void> {
  if (isPostgres(db)) await db.schema.dropTable('leader').execute()
}
