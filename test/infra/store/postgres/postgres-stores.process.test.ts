import { describe } from 'vitest'
import {
  missing,
  usePostgresServer,
  usePostgresStores,
} from '../../../support/store/postgres-stores.ts'
import { describeEtaStore } from '../../../support/store-suites/eta-store.ts'
import { describeHistoryStore } from '../../../support/store-suites/history-store.ts'
import { describeJobStore } from '../../../support/store-suites/job-store.ts'
import { describeRetentionStore } from '../../../support/store-suites/retention-store.ts'
import { describeWebhookStore } from '../../../support/store-suites/webhook-store-suite.ts'

describe.skipIf(missing)(`PostgreSQL ${missing ? `(left out: ${missing})` : ''}`, () => {
  const createStores = usePostgresStores(usePostgresServer())

  describeJobStore('PostgreSQL', createStores)
  describeEtaStore('PostgreSQL', createStores)
  describeHistoryStore('PostgreSQL', createStores)
  describeRetentionStore('PostgreSQL', createStores)
  describeWebhookStore('PostgreSQL', createStores)
})
