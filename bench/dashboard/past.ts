/** A past that a service can have had, written by its own store. */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { openDatabase } from '../../src/infra/store/database.ts'
import { createEtaStore } from '../../src/infra/store/eta-store.ts'
import { createJobStore } from '../../src/infra/store/job-store.ts'
import { migrateToLatest } from '../../src/infra/store/migrate.ts'
import { type PastJob, type RecordedPast, recordPast } from './record-past.ts'

/** Before the service is started; `drained` are GPUs that are to take nothing. */
export async function writePast(
  dataDir: string,
  jobs: readonly PastJob[],
  options?: Readonly<{ drained?: readonly number[] }>,
): Promise<RecordedPast> {
  mkdirSync(join(dataDir, 'results'), { recursive: true })
  const { db, close } = openDatabase(join(dataDir, 'state.db'))
  await migrateToLatest(db)
  const stores = { jobs: createJobStore(db), eta: createEtaStore(db, { task: 'ti2v-5B' }) }
  const past = await recordPast(stores, jobs, options)
  await close()
  return past
}
