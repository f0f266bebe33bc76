/** The stores over an empty PostgreSQL database. */
import { sql } from 'kysely'
import { Client } from 'pg'
import { afterAll, beforeAll } from 'vitest'
import {
  type PostgresServer,
  postgresMissing,
  startPostgresServer,
} from '../../../bench/postgres.ts'
import { createJobCache } from '../../../src/infra/fast/job-cache.ts'
import { createHistoryStore } from '../../../src/infra/store/history-store.ts'
import type { Fence } from '../../../src/infra/store/postgres/fence.ts'
import { migratePostgres } from '../../../src/infra/store/postgres/migrate-postgres.ts'
import {
  openPostgres,
  type PostgresDatabase,
} from '../../../src/infra/store/postgres/open-postgres.ts'
import { createPostgresJobStore } from '../../../src/infra/store/postgres/postgres-job-store.ts'
import { createWriter } from '../../../src/infra/store/postgres/writer.ts'
import { createRetentionStore } from '../../../src/infra/store/retention-store.ts'
import { createWebhookStore } from '../../../src/infra/store/webhook-store.ts'
import type { OpenStores } from '../store-suites/stores.ts'

export type PostgresStores = OpenStores & Pick<PostgresDatabase, 'db'>

/** Why tests of PostgreSQL are left out here; `undefined`: they are not. */
export const missing = postgresMissing()

/** A server for the tests of one file. They do not wait for its disk. */
export function usePostgresServer({ isDurable = false } = {}): () => PostgresServer {
  let server: PostgresServer | undefined
  beforeAll(async () => {
    server = await startPostgresServer({ isDurable })
  })
  afterAll(() => server?.[Symbol.asyncDispose]())
  return () => {
    if (!server) throw new Error('the server runs inside a test only')
    return server
  }
}

/** One open database, which each test finds empty: to create and to open one takes longer than most tests. */
export function usePostgresStores(server: () => PostgresServer): () => Promise<PostgresStores> {
  let url: string | undefined
  let opened: PostgresStores | undefined
  afterAll(() => opened?.close())
  return async () => {
    if (url === undefined) {
      url = await server().createDatabase()
      await migratePostgres(url)
    }
    opened ??= await openStores(url)
    await empty(opened)
    return keptOpen(opened, url)
  }

  function keptOpen(stores: PostgresStores, url: string): PostgresStores {
    return {
      ...stores,
      // Its cache would know the jobs of earlier tests.
      jobs: stores.jobsWith({ task: 'ti2v-5B', gpuModels: new Map() }),
      async close() {},
      async reopen() {
        await stores.close()
        opened = await openStores(url)
        return keptOpen(opened, url)
      },
    }
  }
}

export async function openStores(url: string): Promise<PostgresStores> {
  const fence: Fence = { term: await takeTerm(url), onOver() {} }
  const settings = { url, task: 'ti2v-5B', gpuModels: new Map() }
  const { db, jobs, eta, close } = await openPostgres(settings, fence)
  const writer = createWriter(db)
  return {
    db,
    jobs: jobs.queue,
    eta,
    history: createHistoryStore(db),
    retention: createRetentionStore(db),
    webhooks: createWebhookStore(db),
    jobsWith: (context) =>
      createPostgresJobStore(db, { line: writer.openLine(), context, cache: createJobCache() }),
    contents: () => contentsOf(db),
    async reopen() {
      await close()
      return openStores(url)
    },
    close,
  }
}

/** Leads from now on, as an elected node does. */
export async function takeTerm(url: string): Promise<number> {
  const client = new Client(url)
  await client.connect()
  try {
    const { rows } = await client.query<{ term: string }>(
      "update leader set term = term + 1, node = 'test', beat = 0, written = 0 returning term",
    )
    return Number(rows[0]?.term)
  } finally {
    await client.end()
  }
}

const tables = [
  'job',
  'attempt',
  'gpu',
  'drained_node',
  'webhook',
  'delivery',
  'submission',
  'estimate',
  'clock',
]

/** To truncate so many tables takes longer than to delete a few rows. */
async function empty({ db }: PostgresStores): Promise<void> {
  for (const table of ['delivery', 'webhook', 'job', 'gpu', 'drained_node', 'clock'] as const) {
    await db.deleteFrom(table).execute()
  }
}

async function contentsOf(db: PostgresStores['db']): Promise<string> {
  const rows = tables.map(async (table) => {
    const { rows } = await sql`select * from ${sql.table(table)}`.execute(db)
    return JSON.stringify([table, rows])
  })
  return (await Promise.all(rows)).join('\n')
}
