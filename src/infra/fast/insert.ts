import { CompiledQuery, type Insertable, type Kysely } from 'kysely'
import type { Database } from '../store/database.ts'

/** The text of each, by table and columns: to put it together takes longer than to insert the row. */
const texts = new Map<string, string>()

/** What is inserted for each job, or each attempt at one, or told of it. */
export async function insertRow<Table extends keyof Database>(
  db: Kysely<Database>,
  table: Table,
  row: Insertable<Database[Table]>,
  when: 'always' | 'unless it is there' = 'always',
): Promise<void> {
  const present = Object.entries(row).filter(([, value]) => value !== undefined)
  const key = `${when} ${table} ${present.map(([column]) => column)}`
  const text = texts.get(key) ?? insertion().compile().sql
  texts.set(key, text)
  const values = present.map(([, value]) => value)
  await db.executeQuery(CompiledQuery.raw(text, values))

  function insertion() {
    const insert = db.insertInto(table).values(row)
    return when === 'always' ? insert : insert.onConflict((conflict) => conflict.doNothing())
  }
}
