import { type Kysely, sql } from 'kysely'
import { isPostgres } from '../dialect.ts'

/** File names in an index, where case makes no difference. In SQLite the column says so itself. */
export const fileName = (db: Kysely<never>) =>
  isPostgres(db) ? sql`lower(filename collate "C")` : sql`filename`
