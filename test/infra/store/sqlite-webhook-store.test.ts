import { migrateToLatest } from '../../../src/infra/store/migrate.ts'
import { openDatabase } from '../../../src/infra/store/sqlite/database.ts'
import { createJobStore } from '../../../src/infra/store/sqlite/sqlite-job-store.ts'
import { createWebhookStore } from '../../../src/infra/store/webhook-store.ts'
import { describeWebhookStore } from '../../support/store-suites/webhook-store-suite.ts'

describeWebhookStore('SQLite', async () => {
  const { db, close } = openDatabase(':memory:')
  await migrateToLatest(db)
  return { webhooks: createWebhookStore(db), jobs: createJobStore(db), close }
})
