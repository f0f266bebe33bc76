/** The stores as the service has them: this thread reads, and the database thread writes. */
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createHistoryStore } from '../../../src/infra/store/history-store.ts'
import { createRetentionStore } from '../../../src/infra/store/retention-store.ts'
import { createJobStore } from '../../../src/infra/store/sqlite/sqlite-job-store.ts'
import { startDatabase } from '../../../src/infra/store/sqlite/thread/start-database.ts'
import { createWebhookStore } from '../../../src/infra/store/webhook-store.ts'
import type { OpenStores } from '../store-suites/stores.ts'
import { aMemoryDirectory, contentsOf, migratedFile } from './sqlite-stores.ts'

/** Options of a database thread in a directory of a test. */
export const threadSettings = (directory: string) => ({
  path: join(directory, 'state.db'),
  mustHaveJobs: false,
  reserve: join(directory, 'reserve'),
  backupsDir: join(directory, 'backups'),
  task: 'ti2v-5B',
  gpuModels: new Map(),
})

export async function createThreadStores(): Promise<OpenStores> {
  const directory = aMemoryDirectory('thread-stores-')
  writeFileSync(threadSettings(directory).path, await migratedFile())
  return openStores(directory)
}

async function openStores(directory: string): Promise<OpenStores> {
  const { db, jobs, eta, close } = await startDatabase(threadSettings(directory), (error) => {
    throw error
  })
  return {
    jobs,
    eta,
    history: createHistoryStore(db),
    retention: createRetentionStore(db),
    webhooks: createWebhookStore(db),
    jobsWith: (context) => createJobStore(db, { context }),
    contents: () => contentsOf(db),
    async reopen() {
      await close()
      return openStores(directory)
    },
    async close() {
      await close()
      rmSync(directory, { recursive: true, force: true })
    },
  }
}
