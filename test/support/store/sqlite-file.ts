/** A SQLite database as a file of the current test: to fill, damage, back up and open again. */
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach } from 'vitest'
import { migrateToLatest } from '../../../src/infra/store/migrate.ts'
import {
  type OpenDatabase,
  type OpenOptions,
  openDatabase,
} from '../../../src/infra/store/sqlite/database.ts'
import { createJobStore } from '../../../src/infra/store/sqlite/sqlite-job-store.ts'
import type { StoreOperation } from '../../../src/infra/store/store-operations.ts'
import { aRequest, fromAnybody, jobId, midnight } from '../jobs.ts'
import { aMemoryDirectory } from './sqlite-stores.ts'

export type SqliteFile = ReturnType<typeof useSqliteFile>

export function useSqliteFile() {
  const opened: OpenDatabase[] = []
  let directory = ''
  const inDirectory = (name: string) => join(directory, name)
  const path = () => inDirectory('state.db')

  beforeEach(() => {
    directory = aMemoryDirectory('database-')
  })
  afterEach(async () => {
    for (const database of opened.splice(0)) await database.close()
    rmSync(directory, { recursive: true, force: true })
  })

  return {
    get directory() {
      return directory
    },
    get path() {
      return path()
    },
    inDirectory,

    open(where = path(), options: OpenOptions = {}): OpenDatabase {
      const database = openDatabase(where, options)
      opened.push(database)
      return database
    },

    async holding(jobs: number, { leaveOpen = false } = {}): Promise<OpenDatabase> {
      const database = openDatabase(path())
      await migrateToLatest(database.db)
      const store = createJobStore(database.db)
      const numbers = Array.from({ length: jobs }, (_, n) => n + 1)
      // The last one by itself, so that there is a last commit to lose.
      if (jobs > 1) await store.commit(numbers.slice(0, -1).map(submitLong))
      await store.commit(numbers.slice(-1).map(submitLong))
      if (leaveOpen) opened.push(database)
      else await database.close()
      return database
    },

    overwrite(position: number, bytes: Buffer): void {
      const file = readFileSync(path())
      bytes.copy(file, position)
      writeFileSync(path(), file)
    },
  }
}

/** Job `n` with a prompt of some length. */
export const submitLong = (n: number): StoreOperation => ({
  op: 'submit',
  jobId: jobId(n),
  seq: n,
  request: aRequest({ prompt: `job ${n} `.repeat(20) }),
  ...fromAnybody,
  at: midnight,
})

export async function jobsIn({ db }: OpenDatabase): Promise<number> {
  const { n } = await db
    .selectFrom('job')
    .select(({ fn }) => fn.countAll<number>().as('n'))
    .executeTakeFirstOrThrow()
  return n
}
