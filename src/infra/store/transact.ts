import { type Kysely, sql } from 'kysely'
import type { Database } from './schema.ts'

/** Begins a transaction of the owner of the database. Each connection takes it to mean what its database needs. */
export const beginText = 'begin immediate'

/** All or nothing. Kysely's own loses the error of a full disk, on which SQLite rolls back unasked. */
export function transact<Result>(
  db: Kysely<Database>,
  work: (connection: Kysely<Database>) => Promise<Result>,
  begin = beginText,
): Promise<Result> {
  return db.connection().execute(async (connection) => {
    await sql.raw(begin).execute(connection)
    try {
      const result = await work(connection)
      await sql`commit`.execute(connection)
      return result
    } catch (error) {
      await sql`rollback`.execute(connection).catch(() => {}) // Done already, or there is nothing to do.
      throw error
    }
  })
}
