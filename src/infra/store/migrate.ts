import type { Kysely } from 'kysely'
import { type Migration, Migrator } from 'kysely/migration'
import { migrations } from './migrations/index.ts'
import type { Database } from './schema.ts'
import { transact } from './transact.ts'

/**
 * Brings the schema up to what this code needs. `beforeChange` is called with the first migration
 * that is missing when that changes a database that has been in use. All or nothing: Kysely itself
 * takes SQLite for unable to do that, and a start that was killed in between could never be repeated.
 */
export async function migrateToLatest(
  db: Kysely<Database>,
  beforeChange?: (migration: string) => Promise<void>,
  available: Record<string, Migration> = migrations,
): Promise<void> {
  const migratorOf = (connection: Kysely<Database>) =>
    new Migrator({ db: connection, provider: { getMigrations: async () => available } })
  const all = await migratorOf(db).getMigrations()
  const [next] = all.filter(({ executedAt }) => executedAt === undefined)
  if (next && all.some(({ executedAt }) => executedAt !== undefined))
    await beforeChange?.(next.name)
  await transact(db, async (connection) => {
    const { error } = await migratorOf(connection).migrateToLatest()
    if (error) throw error
  })
}
