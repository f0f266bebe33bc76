import SQLite from 'better-sqlite3'
import { Kysely, SqliteDialect } from 'kysely'
import { describe, expect, it, onTestFinished } from 'vitest'
import { DiskFullError } from '../../../../src/domain/errors.ts'
import { migrateToLatest } from '../../../../src/infra/store/migrate.ts'
import type { Database } from '../../../../src/infra/store/schema.ts'
import { writeTroubleOf } from '../../../../src/infra/store/sqlite/sqlite-errors.ts'
import { createJobStore } from '../../../../src/infra/store/sqlite/sqlite-job-store.ts'
import { writeWebhooks } from '../../../../src/infra/store/webhook-queries.ts'
import { jobId } from '../../../support/jobs.ts'
import { submit } from '../../../support/store-suites/operations.ts'

const sqliteError = (code: string) => new SQLite.SqliteError(`the error ${code}`, code)

describe('an error of a write', () => {
  it.each([
    ['SQLITE_FULL', 'full'],
    ['ENOSPC', 'full'],
    ['EDQUOT', 'full'],
    // What SQLite makes of EDQUOT, EFBIG, EIO and others: the system's own word is lost.
    ['SQLITE_IOERR', 'failing'],
    ['SQLITE_IOERR_WRITE', 'failing'],
    ['SQLITE_IOERR_FSYNC', 'failing'],
    ['SQLITE_IOERR_DIR_FSYNC', 'failing'],
    ['SQLITE_IOERR_TRUNCATE', 'failing'],
    ['SQLITE_IOERR_SHMSIZE', 'failing'],
    ['SQLITE_IOERR_SHMOPEN', 'failing'],
    ['SQLITE_IOERR_SHMMAP', 'failing'],
    ['SQLITE_IOERR_DELETE', 'failing'],
    ['SQLITE_CANTOPEN', 'failing'],
    ['SQLITE_READONLY', 'failing'],
    ['EROFS', 'failing'],
    ['SQLITE_NOMEM', 'failing'],
    ['SQLITE_IOERR_NOMEM', 'failing'],
    ['EMFILE', 'failing'],
    ['ENOMEM', 'failing'],
    // Waiting does not help.
    ['SQLITE_CORRUPT', undefined],
    ['SQLITE_IOERR_CORRUPTFS', undefined],
    ['SQLITE_NOTADB', undefined],
    ['SQLITE_READONLY_DBMOVED', undefined],
    ['SQLITE_CONSTRAINT_UNIQUE', undefined],
    ['SQLITE_ERROR', undefined],
  ])('with the code %s is %s', (code, trouble) => {
    expect(writeTroubleOf(sqliteError(code))).toBe(trouble)
  })

  it('without a code is a bug of ours', () => {
    for (const error of [new Error('no'), undefined, 'no']) {
      expect(writeTroubleOf(error)).toBeUndefined()
    }
  })
})

describe('a store whose database cannot be written', () => {
  it.each(['SQLITE_FULL', 'SQLITE_IOERR_WRITE', 'SQLITE_IOERR_FSYNC', 'SQLITE_NOMEM'])(
    'reports %s instead of crashing, and writes the same later',
    async (code) => {
      const { db, fail } = await aDatabaseThatFails()
      const jobs = createJobStore(db)
      fail(code)
      const result = await jobs.commit([submit(1)])
      expect(result).toMatchObject({ how: 'full', error: expect.any(DiskFullError) })
      const failing = writeWebhooks(db, () => Promise.reject(sqliteError(code)))
      await expect(failing).rejects.toThrow(DiskFullError)
      fail(undefined)
      expect(await jobs.commit([submit(1)])).toEqual({ how: 'committed' })
    },
  )

  it('gives up the reserve for what must be written, also when a quota may be the reason', async () => {
    const { db, fail } = await aDatabaseThatFails()
    let released = 0
    const release = () => {
      released += 1
      fail(undefined)
      return true
    }
    const jobs = createJobStore(db, { reserve: { release } })
    await jobs.commit([submit(1)])
    fail('SQLITE_IOERR_WRITE')
    const outcome = { status: 'canceled' } as const
    const finish = { op: 'finish', jobId: jobId(1), epoch: 0, outcome, at: 1 } as const
    expect(await jobs.commit([finish])).toEqual({ how: 'committed' })
    expect(released).toBe(1)
  })

  it('throws an error that waiting does not mend', async () => {
    const { db, fail } = await aDatabaseThatFails()
    fail('SQLITE_CORRUPT')
    await expect(createJobStore(db).commit([submit(1)])).rejects.toThrow('SQLITE_CORRUPT')
  })
})

/** Every change of a job throws what it is told to. */
async function aDatabaseThatFails() {
  let code: string | undefined
  const sqlite = new SQLite(':memory:')
  onTestFinished(() => void sqlite.close())
  sqlite.function('fail', { deterministic: false }, () => {
    if (code) throw sqliteError(code)
    return null
  })
  const db = new Kysely<Database>({ dialect: new SqliteDialect({ database: sqlite }) })
  await migrateToLatest(db, async () => {})
  sqlite.exec(`
    create temp trigger on_insert before insert on main.job begin select fail(); end;
    create temp trigger on_update before update on main.job begin select fail(); end;
  `)
  return {
    db,
    fail: (next: string | undefined) => {
      code = next
    },
  }
}
