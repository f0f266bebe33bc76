import { Kysely, sql } from 'kysely'
import { Migrator } from 'kysely/migration'
import { migrations } from '../migrations/index.ts'
import type { Database } from '../schema.ts'
import { transact } from '../transact.ts'
import { UnusableDatabaseError } from '../unusable-database.ts'
import { wideColumns } from './column-types.ts'
import { createPool, describeUrl } from './pool.ts'
import { createPostgresDialect } from './postgres-dialect.ts'
import { explainNoCreate } from './refusals.ts'

/** Any number that nothing else locks in this database. */
const migrationLock = 7_283_641

export type SchemaFacts = Readonly<{
  /** Whether there are records of jobs. */
  hasJobs: boolean
  /** Whether there are tables of a cluster. */
  hasNodes: boolean
}>

/**
 * Changes nothing. Rejects with `UnusableDatabaseError` when a newer version has changed the schema, or when the role
 * may not bring it up to date.
 */
export const inspectSchema = (url: string): Promise<SchemaFacts> =>
  connected(url, async (db) => {
    const present = await migrationsIn(db)
    refuseNewer(present, url)
    if (present.length < Object.keys(migrations).length) await requireCreate(db, url)
    const { rows } = await sql<{ jobs: boolean; nodes: boolean }>`
      select to_regclass('job') is not null as jobs, to_regclass('node') is not null as nodes
    `.execute(db)
    const job = rows[0]?.jobs && (await db.selectFrom('job').select('seq').limit(1).execute())
    return { hasJobs: job ? job.length > 0 : false, hasNodes: rows[0]?.nodes ?? false }
  })

/**
 * Brings the schema of a PostgreSQL database up to what this code needs, all or nothing. Nodes that start
 * together take turns. Nodes of an earlier version that run go on with the new schema.
 */
export const migratePostgres = (url: string): Promise<void> =>
  connected(url, (db) =>
    transact(db, async (connection) => {
      await sql`select pg_advisory_xact_lock(${sql.lit(migrationLock)})`.execute(connection)
      refuseNewer(await migrationsIn(connection), url)
      const migrator = new Migrator({
        db: connection,
        provider: { getMigrations: async () => migrations },
        disableTransactions: true,
      })
      const { error } = await migrator.migrateToLatest()
      if (error) throw error
    }),
  )

async function connected<Result>(
  url: string,
  work: (db: Kysely<Database>) => Promise<Result>,
): Promise<Result> {
  // Without a time limit: an index over many jobs takes a while.
  const pool = await createPool(url, { max: 1 })
  const fence = { term: undefined, onOver() {} }
  const dialect = createPostgresDialect(pool, { fence })
  const db = new Kysely<Database>({ dialect }).withPlugin(wideColumns)
  try {
    return await work(db)
  } finally {
    await db.destroy()
  }
}

function refuseNewer(present: readonly string[], url: string): void {
  const unknown = present.find((name) => !(name in migrations))
  if (!unknown) return
  throw new UnusableDatabaseError(
    `${describeUrl(url)} was written by a newer version of the service: it has "${unknown}". ` +
      'Start that version, or restore the backup made before the upgrade: docs/operations.md says how.',
  )
}

async function requireCreate(db: Kysely<Database>, url: string): Promise<void> {
  const { rows } = await sql<{ schema: string; may: boolean | null }>`
    select current_schema() as schema, has_schema_privilege(current_schema(), 'create') as may
  `.execute(db)
  const [{ schema, may } = { schema: '', may: null }] = rows
  if (may === false) throw new UnusableDatabaseError(explainNoCreate(schema, url))
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
