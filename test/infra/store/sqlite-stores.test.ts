import { createSqliteStores } from '../../support/store/sqlite-stores.ts'
import { describeEtaStore } from '../../support/store-suites/eta-store.ts'
import { describeHistoryStore } from '../../support/store-suites/history-store.ts'
import { describeJobStore } from '../../support/store-suites/job-store.ts'
import { describeRetentionStore } from '../../support/store-suites/retention-store.ts'

describeJobStore('SQLite', createSqliteStores)
describeEtaStore('SQLite', createSqliteStores)
describeHistoryStore('SQLite', createSqliteStores)
describeRetentionStore('SQLite', createSqliteStores)
