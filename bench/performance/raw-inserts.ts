/** `node raw-inserts.ts SECONDS`: as many jobs as SQLite takes, each durable before the next; prints how many a second. */
import { join } from 'node:path'
import SQLite from 'better-sqlite3'
import { migrateToLatest } from '../../src/infra/store/migrate.ts'
import { openDatabase } from '../../src/infra/store/sqlite/database.ts'
import { aDirectory, removeDirectory } from '../service.ts'
import { durableJobColumns, durableJobRow } from './durable-job.ts'

const milliseconds = Number(process.argv[2]) * 1_000
const directory = aDirectory()
const path = join(directory, 'state.db')
const service = openDatabase(path)
await migrateToLatest(service.db)
await service.close()

const database = new SQLite(path)
database.pragma('journal_mode = WAL')
database.pragma('synchronous = FULL')
const insert = database.prepare(
  `insert into job (${durableJobColumns.join(', ')}) values (${durableJobColumns.map((name) => `@${name}`).join(', ')})`,
)
let count = 0
const begun = performance.now()
while (performance.now() - begun < milliseconds) insert.run(durableJobRow(++count))
const perSecond = (count / (performance.now() - begun)) * 1_000
if (database.prepare('select count(*) from job').pluck().get() !== count)
  throw new Error('rows are missing')
database.close()
removeDirectory(directory)
process.stdout.write(`${perSecond}\n`)
