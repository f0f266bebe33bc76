import { CompiledQuery, type Insertable, type Kysely } from 'kysely'

/** SQL text by table and columns: building the text takes longer than inserting the row. */
const texts = new Map<string, string>()

/** PostgreSQL takes 65,535 parameters, and no table has more than 65 columns. */
const maxRowsAtOnce = 1_000

/**
 * Inserts rows of the same columns with one statement, into PostgreSQL: a statement for each row is a round
 * trip each.
 */
export async function insertRows<Database, Table extends keyof Database & string>(
  db: Kysely<Database>,
  table: Table,
  rows: readonly Insertable<Database[Table]>[],
  when: 'always' | 'unless it is there' = 'always',
): Promise<void> {
  const [first] = rows
  if (!first) return
  if (rows.length > maxRowsAtOnce) {
    await insertRows(db, table, rows.slice(0, maxRowsAtOnce), when)
    return insertRows(db, table, rows.slice(maxRowsAtOnce), when)
  }
  const columns = Object.keys(first)
  let parameters = 0
  const tuples = rows.map(() => `(${columns.map(() => `$${++parameters}`).join(', ')})`)
  const names = columns.map((name) => `"${name}"`).join(', ')
  const text = `insert into "${table}" (${names}) values ${tuples.join(', ')}${
    when === 'always' ? '' : ' on conflict do nothing'
  }`
  const values = rows.flatMap((row) => Object.values(row))
  await db.executeQuery(CompiledQuery.raw(text, values))
}

/** Inserts a row of a kind that is written for each job, attempt, or estimate. */
export async function insertRow<Database, Table extends keyof Database & string>(
  db: Kysely<Database>,
  table: Table,
  row: Insertable<Database[Table]>,
  when: 'always' | 'unless it is there' = 'always',
): Promise<void> {
  const present = Object.entries(row).filter(([, value]) => value !== undefined)
  // The dialects write parameters in different ways.
  const { constructor: dialect } = db.getExecutor().adapter
  const key = `${dialect.name} ${when} ${table} ${present.map(([column]) => column)}`
  const text = texts.get(key) ?? insertion().compile().sql
  texts.set(key, text)
  const values = present.map(([, value]) => value)
  await db.executeQuery(CompiledQuery.raw(text, values))

  function insertion() {
    const insert = db.insertInto(table).values(row)
    return when === 'always' ? insert : insert.onConflict((conflict) => conflict.doNothing())
  }
}
