import { CompiledQuery, type Insertable, type Kysely } from 'kysely'
import type { Database } from './database.ts'

/** The text of each, by table and columns: to put it together takes longer than to insert the row. */
const texts = new Map<string, string>()

/** What is inserted for each job, or each attempt at one. */
export async function insertRow<Table extends keyof Database>(
  db: Kysely<Database>,
  table: Table,
  row: Insertable<Database[Table]>,
): Promise<void> {
  const present = Object.entries(row).filter(([, value]) => value !== undefined)
  const key = `${table} ${present.map(([column]) => column)}`
  const text = texts.get(key) ?? db.insertInto(table).values(row).compile().sql
  texts.set(key, text)
  const values = present.map(([, value]) => value)
  await db.executeQuery(CompiledQuery.raw(text, values))
}
