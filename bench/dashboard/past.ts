/** A past that a service can have had, written by its own store. */
import { mkdirSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createEtaStore } from '../../src/infra/store/eta-store.ts'
import { migrateToLatest } from '../../src/infra/store/migrate.ts'
import { openDatabase } from '../../src/infra/store/sqlite/database.ts'
import { createJobStore } from '../../src/infra/store/sqlite/sqlite-job-store.ts'
import { type PastJob, type RecordedPast, recordPast } from './record-past.ts'

/** Before the service is started. Videos without a file get one that takes no room. `drained` are GPUs that are to take nothing. */
export async function writePast(
  dataDir: string,
  jobs: readonly PastJob[],
  options?: Readonly<{ drained?: readonly number[] }>,
): Promise<RecordedPast> {
  mkdirSync(join(dataDir, 'results'), { recursive: true })
  const { db, close } = openDatabase(join(dataDir, 'state.db'))
  await migrateToLatest(db)
  const stores = { jobs: createJobStore(db), eta: createEtaStore(db, { task: 'ti2v-5B' }) }
  const past = await recordPast(
    stores,
    jobs.map((job) => withFile(join(dataDir, 'results'), job)),
    options,
  )
  await close()
  return past
}

/** Length of files that nobody reads. */
const emptyBytes = 3_100_000

function withFile(resultsDir: string, job: PastJob): PastJob {
  const { run } = job
  if (!run || run.failure) return job
  const path = join(resultsDir, run.filename)
  if (!statSync(path, { throwIfNoEntry: false })) {
    writeFileSync(path, '')
    truncateSync(path, run.bytes ?? emptyBytes)
  }
  return { ...job, run: { ...run, bytes: statSync(path).size } }
}
