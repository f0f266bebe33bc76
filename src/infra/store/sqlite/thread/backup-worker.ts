/** Makes one backup and ends. */
import { workerData } from 'node:worker_threads'
import SQLite from 'better-sqlite3'
import { backUp } from '../sqlite-backup.ts'
import type { BackUpOrder } from './back-up.ts'

const { path, to } = workerData as BackUpOrder
const sqlite = new SQLite(path, { readonly: true, fileMustExist: true })
try {
  await backUp(sqlite, to)
} finally {
  sqlite.close()
}
