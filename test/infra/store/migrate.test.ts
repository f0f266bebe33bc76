import { sql } from 'kysely'
import type { Migration } from 'kysely/migration'
import { expect, it, onTestFinished } from 'vitest'
import { migrateToLatest } from '../../../src/infra/store/migrate.ts'
import { openDatabase } from '../../../src/infra/store/sqlite/database.ts'

const create = (table: string): Migration => ({
  up: async (db) => void (await sql`create table ${sql.table(table)} (id integer)`.execute(db)),
})

it('leaves nothing of migrations that were cut off, so that the next start can run them', async () => {
  const { db, close } = openDatabase(':memory:')
  onTestFinished(close)
  const half: Migration = {
    async up(connection) {
      await create('half').up(connection)
      throw new Error('cut off')
    },
  }
  const cutOff = migrateToLatest(db, undefined, { '001': create('whole'), '002': half })
  await expect(cutOff).rejects.toThrow('cut off')
  await migrateToLatest(db, undefined, { '001': create('whole'), '002': create('half') })
  const { rows } =
    await sql`select name from sqlite_master where name in ('whole', 'half')`.execute(db)
  expect(rows).toHaveLength(2)
})
