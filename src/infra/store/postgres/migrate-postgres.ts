import { Kysely, sql } from 'kysely'
import { Migrator } from 'kysely/migration'
import { migrations } from '../migrations/index.ts'
import type { Database } from '../schema.ts'
import { transact } from '../transact.ts'
import { UnusableDatabaseError } from '../unusable-database.ts'
import { wideColumns } from './column-types.ts'
import { createPool, describeUrl } from './pool.ts'
import { createPostgresDialect } from './postgres-dialect.ts'

/** Any number that nothing else locks in this database. */
const migrationLock = 7_283_641

/**
 * Brings the schema of a PostgreSQL database up to what this code needs, all or nothing. Nodes that start
 * together take turns. Resolves with whether there are records of jobs.
 */
export async function migratePostgres(url: string): Promise<{ hasJobs: boolean }> {
  // Without a time limit: an index over many jobs takes a while.
  const pool = await createPool(url, { max: 1 })
  const fence = { term: undefined, onOver() {} }
  const dialect = createPostgresDialect(pool, { fence })
  const db = new Kysely<Database>({ dialect }).withPlugin(wideColumns)
  try {
    return await transact(db, async (connection) => {
      await sql`select pg_advisory_xact_lock(${sql.lit(migrationLock)})`.execute(connection)
      const present = await migrationsIn(connection)
      const unknown = present.find((name) => !(name in migrations))
      if (unknown) {
        throw new UnusableDatabaseError(
          `${describeUrl(url)} was written by a newer version of the service: it has "${unknown}". ` +
            'Start that version, or restore the backup made before the upgrade: docs/operations.md says how.',
        )
      }
      const migrator = new Migrator({
        db: connection,
        provider: { getMigrations: async () => migrations },
        disableTransactions: true,
      })
      const { error } = await migrator.migrateToLatest()
      if (error) throw error
      const first = await connection.selectFrom('job').select('seq').limit(1).executeTakeFirst()
      return { hasJobs: first !== undefined }
    })
  } finally {
    await db.destroy()
  }
}

/** Names of the migrations that a database has had. */
async function migrationsIn(connection: Kysely<Database>): Promise<readonly string[]> {
  const { rows } = await sql<{ has: boolean }>`
    select to_regclass('kysely_migration') is not null as has
  `.execute(connection)
  if (!rows[0]?.has) return []
  const names = await sql<{ name: string }>`select name from kysely_migration`.execute(connection)
  return names.rows.map(({ name }) => name)
}
