/** Records of an earlier run of a service, in the database that its next start opens. */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { Client } from 'pg'
import type { QueueOperation } from '../../../src/actors/queue/queue-ports.ts'
import { migrateToLatest } from '../../../src/infra/store/migrate.ts'
import { migratePostgres } from '../../../src/infra/store/postgres/migrate-postgres.ts'
import { openDatabase } from '../../../src/infra/store/sqlite/database.ts'
import { createJobStore } from '../../../src/infra/store/sqlite/sqlite-job-store.ts'
import { openStores } from './postgres-stores.ts'
import { databaseOf } from './shared-postgres.ts'

/** Creates the directories of files too. */
export async function recordEarlier(
  dataDir: string,
  operations: readonly QueueOperation[],
): Promise<void> {
  for (const name of ['results', 'logs', 'work']) {
    mkdirSync(join(dataDir, name), { recursive: true })
  }
  const { DATABASE_URL } = await databaseOf(dataDir)
  if (DATABASE_URL !== undefined) return recordInPostgres(DATABASE_URL, operations)
  const { db, close } = openDatabase(join(dataDir, 'state.db'))
  await migrateToLatest(db)
  await createJobStore(db).commit(operations)
  await close()
}

async function recordInPostgres(url: string, operations: readonly QueueOperation[]): Promise<void> {
  await migratePostgres(url)
  const { jobs, close } = await openStores(url)
  await jobs.commit(operations)
  await close()
  const client = new Client(url)
  await client.connect()
  // The writer of these records resigns, so that the next start need not find that it is gone.
  await client.query("update leader set node = ''")
  await client.end()
}
