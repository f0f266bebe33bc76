import type { Kysely } from 'kysely'
import { type Migration, Migrator } from 'kysely/migration'
import { migrations } from './migrations/index.ts'
import type { Database } from './schema.ts'

/**
 * Brings the schema up to what this code needs. `beforeChange` is called with the first migration
 * that is missing when that changes a database that has been in use.
 */
export async function migrateToLatest(
  db: Kysely<Database>,
  beforeChange?: (migration: string) => Promise<void>,
  available: Record<string, Migration> = migrations,
): Promise<void> {
  const migrator = new Migrator({ db, provider: { getMigrations: async () => available } })
  const all = await migrator.getMigrations()
  const [next] = all.filter(({ executedAt }) => executedAt === undefined)
  if (next && all.some(({ executedAt }) => executedAt !== undefined))
    await beforeChange?.(next.name)
  const { error } = await migrator.migrateToLatest()
  if (error) throw error
}
