/** The stores over a fresh SQLite database, ready within about a millisecond. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Kysely, sql } from 'kysely'
import { createEtaStore } from '../../../src/infra/store/eta-store.ts'
import { createHistoryStore } from '../../../src/infra/store/history-store.ts'
import { migrateToLatest } from '../../../src/infra/store/migrate.ts'
import { createRetentionStore } from '../../../src/infra/store/retention-store.ts'
import type { Database } from '../../../src/infra/store/schema.ts'
import { type OpenDatabase, openDatabase } from '../../../src/infra/store/sqlite/database.ts'
import { createJobStore } from '../../../src/infra/store/sqlite/sqlite-job-store.ts'
import { createWebhookStore } from '../../../src/infra/store/webhook-store.ts'
import type { OpenStores } from '../store-suites/stores.ts'

export type SqliteStores = OpenStores & Pick<OpenDatabase, 'db'>

export async function createSqliteStores(): Promise<SqliteStores> {
  const directory = aMemoryDirectory('stores-')
  const path = join(directory, 'state.db')
  writeFileSync(path, await migratedFile())
  return openStores(directory, openDatabase(path), path)
}

function openStores(directory: string, { db, close }: OpenDatabase, path: string): SqliteStores {
  return {
    db,
    jobs: createJobStore(db),
    eta: createEtaStore(db, { task: 'ti2v-5B' }),
    history: createHistoryStore(db),
    retention: createRetentionStore(db),
    webhooks: createWebhookStore(db),
    jobsWith: (context) => createJobStore(db, { context }),
    contents: () => contentsOf(db),
    async reopen() {
      await close()
      const next = openDatabase(path)
      await migrateToLatest(next.db)
      return openStores(directory, next, path)
    },
    async close() {
      await close()
      rmSync(directory, { recursive: true, force: true })
    },
  }
}

/** All rows as text. */
export async function contentsOf(db: Kysely<Database>): Promise<string> {
  const tables = await sql<{ name: string }>`
    select name from sqlite_master where type = 'table' and name not like 'sqlite_%'
    order by name`.execute(db)
  const rows = tables.rows.map(async ({ name }) => {
    const { rows } = await sql`select * from ${sql.table(name)}`.execute(db)
    return JSON.stringify([name, rows])
  })
  return (await Promise.all(rows)).join('\n')
}

/** To migrate takes ten times longer than to write the result to a file. */
let migrated: Promise<Buffer> | undefined

export function migratedFile(): Promise<Buffer> {
  migrated ??= migrateNew()
  return migrated
}

async function migrateNew(): Promise<Buffer> {
  const directory = aMemoryDirectory('template-')
  const path = join(directory, 'state.db')
  const { db, close } = openDatabase(path)
  await migrateToLatest(db)
  await close()
  const file = readFileSync(path)
  rmSync(directory, { recursive: true })
  return file
}

/** A directory in memory, where there is one: a commit then waits for no disk. */
export function aMemoryDirectory(prefix: string): string {
  const memory = '/dev/shm'
  return mkdtempSync(join(existsSync(memory) ? memory : tmpdir(), `wan-${prefix}`))
}
