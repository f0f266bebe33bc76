/** Has Kysely build the text of every insert. */
import type * as product from '../../../src/infra/fast/insert.ts'

export const insertRow: typeof product.insertRow = async (db, table, row, when = 'always') => {
  const insert = db.insertInto(table).values(row)
  await (when === 'always'
    ? insert
    : insert.onConflict((conflict) => conflict.doNothing())
  ).execute()
}
