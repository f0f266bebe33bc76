/** `node raw-inserts.ts SECONDS`: as many jobs as SQLite takes, each durable before the next; prints how many a second. */
import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import SQLite from 'better-sqlite3'
import type { JobId } from '../../src/domain/job.ts'
import { toRow } from '../../src/infra/store/job-rows.ts'
import { migrateToLatest } from '../../src/infra/store/migrate.ts'
import { openDatabase } from '../../src/infra/store/sqlite/database.ts'
import { aDirectory, removeDirectory } from '../service.ts'

const milliseconds = Number(process.argv[2]) * 1_000
const directory = aDirectory()
const path = join(directory, 'state.db')
const service = openDatabase(path)
await migrateToLatest(service.db)
await service.close()

const database = new SQLite(path)
database.pragma('journal_mode = WAL')
database.pragma('synchronous = FULL')
const row = (seq: number) =>
  toRow({
    op: 'submit',
    jobId: randomUUID() as JobId,
    seq,
    request: {
      prompt: `A durable job, number ${seq}`,
      size: '1280x720',
      frames: 121,
      steps: 50,
      seed: seq,
    },
    owner: null,
    address: null,
    at: Date.now(),
  })
const columns = Object.keys(row(0))
const insert = database.prepare(
  `insert into job (${columns.join(', ')}) values (${columns.map((name) => `@${name}`).join(', ')})`,
)
let count = 0
const begun = performance.now()
while (performance.now() - begun < milliseconds) insert.run(row(++count))
const perSecond = (count / (performance.now() - begun)) * 1_000
if (database.prepare('select count(*) from job').pluck().get() !== count)
  throw new Error('rows are missing')
database.close()
removeDirectory(directory)
process.stdout.write(`${perSecond}\n`)
