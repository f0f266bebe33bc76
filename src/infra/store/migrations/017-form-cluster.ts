import { type Kysely, sql } from 'kysely'
import { isPostgres } from '../dialect.ts'

/**
 * Which node leads, which nodes there are, and their mail. A SQLite database belongs to one service anyway.
 * `leader` has one row for good. Mail is not logged: a crash of the server empties it, as any mailbox may be.
 */
export async function up(db: Kysely<never>): Promise<void> {
  if (!isPostgres(db)) return
  // Beats and commits change the row of the leader all the time: with room in its page, no index is touched.
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
  await sql`insert into leader values (true, 0, '', '', 0, 0)`.execute(db)
  await sql`
    create table node (
      name text primary key,
      home text not null,
      run text not null,
      session bigint not null,
      state text not null check (state in ('present', 'left', 'lost')),
      beat bigint not null,
      url text not null,
      version text not null,
      gpus jsonb not null,
      max_loads integer not null
    ) with (fillfactor = 50)
  `.execute(db)
  await sql`
    create unlogged table mail (
      id bigint generated always as identity primary key,
      to_node text not null,
      to_session bigint not null,
      from_run text not null,
      number bigint not null,
      term bigint,
      body text not null
    )
  `.execute(db)
  await sql`create index mail_to on mail (to_node, id)`.execute(db)
}

export async function down(db: Kysely<never>): Promise<void> {
  if (!isPostgres(db)) return
  for (const table of ['mail', 'node', 'leader']) await db.schema.dropTable(table).execute()
}
