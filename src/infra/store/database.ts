import { existsSync, statSync } from 'node:fs'
import SQLite from 'better-sqlite3'
import { Kysely, type SqliteDatabase, SqliteDialect, type SqliteStatement, sql } from 'kysely'
import { LRUCache } from 'lru-cache'
import type { Check } from '../../domain/check.ts'
import { migrations } from './migrations/index.ts'
import type { Database } from './schema.ts'
import { backUp } from './sqlite-backup.ts'

/** How long a change waits for that of another program. */
const busyTimeoutMs = 5_000

/** The database cannot be used as it is; the message says why and what to do, to whoever starts us. */
export class UnusableDatabaseError extends Error {
  override readonly name = 'UnusableDatabaseError'
}

export type OpenDatabase = Readonly<{
  db: Kysely<Database>
  /** A whole and checked copy in one file, made while the database is in use. */
  backup(to: string): Promise<void>
  /** Whether what is written now gets to the disk. */
  check(): Promise<Check>
  close(): Promise<void>
}>

export type OpenOptions = Readonly<{
  /** There are files of earlier jobs: an empty database cannot be the one that knows them. */
  mustHaveJobs?: boolean
  /** Frees some room on a disk that has none, if it can: even opening takes a little. */
  makeRoom?(): boolean
}>

/**
 * What has been committed survives a power cut: WAL with `synchronous=FULL`. Throws
 * `UnusableDatabaseError` rather than hand out a database that will not do.
 */
export function openDatabase(path: string, options: OpenOptions = {}): OpenDatabase {
  const { mustHaveJobs = false, makeRoom } = options
  if (mustHaveJobs && isEmptyFile(path)) throw jobsGone(path)
  const sqlite = explained(path, () => openSound(path, makeRoom))
  try {
    refuseOther(sqlite, path, mustHaveJobs)
  } catch (error) {
    sqlite.close()
    throw error
  }
  const db = new Kysely<Database>({ dialect: new SqliteDialect({ database: prepareOnce(sqlite) }) })
  return {
    db,
    backup: (to) => backUp(sqlite, to),
    check: () => checkWritable(db, path),
    close: () => db.destroy(),
  }
}

/** All or nothing. Kysely's own loses the error of a full disk, on which SQLite rolls back unasked. */
export function transact<Result>(
  db: Kysely<Database>,
  work: (connection: Kysely<Database>) => Promise<Result>,
): Promise<Result> {
  return db.connection().execute(async (connection) => {
    await sql`begin immediate`.execute(connection)
    try {
      const result = await work(connection)
      await sql`commit`.execute(connection)
      return result
    } catch (error) {
      await sql`rollback`.execute(connection).catch(() => {}) // Done already, or there is nothing to do.
      throw error
    }
  })
}

export const isDiskFull = (error: unknown): boolean => {
  const { code } = error as { code?: string }
  return code === 'SQLITE_FULL' || code === 'ENOSPC' || code === 'EDQUOT'
}

/** Errors that a full disk may be behind. */
export const isWriteError = (error: unknown): boolean =>
  /^SQLITE_(IOERR|CANTOPEN)/.test((error as { code?: string }).code ?? '')

/** To prepare a statement takes longer than to run it, and there are few of them. */
const maxStatements = 200

function prepareOnce(sqlite: SQLite.Database): SqliteDatabase {
  // An evicted statement that runs stays valid: its caller holds it.
  const statements = new LRUCache<string, SqliteStatement>({ max: maxStatements })
  return {
    prepare(text) {
      const known = statements.get(text)
      if (known) return known
      // Its type asks for an array of parameters; Kysely gives one.
      const statement = sqlite.prepare(text) as SqliteStatement
      statements.set(text, statement)
      return statement
    },
    close: () => sqlite.close(),
  }
}

function openSound(path: string, makeRoom?: () => boolean): SQLite.Database {
  const sqlite = new SQLite(path)
  try {
    sqlite.pragma('journal_mode = WAL')
    sqlite.pragma('synchronous = FULL')
    sqlite.pragma('foreign_keys = ON')
    // The kernel keeps the pages of the file too: 16 MB of them in here, the default, gained nothing.
    sqlite.pragma('cache_size = -4000')
    sqlite.pragma(`busy_timeout = ${busyTimeoutMs}`)
    const found = sqlite.pragma('quick_check(1)', { simple: true })
    if (found !== 'ok') throw new SQLite.SqliteError(String(found), 'SQLITE_CORRUPT')
    sqlite.exec('BEGIN IMMEDIATE; ROLLBACK') // May we write, and does nobody else?
    return sqlite
  } catch (error) {
    sqlite.close()
    if ((isDiskFull(error) || isWriteError(error)) && makeRoom?.()) return openSound(path)
    throw error
  }
}

/** A sound database, but not the one that this code and these files belong to. */
function refuseOther(sqlite: SQLite.Database, path: string, mustHaveJobs: boolean): void {
  const hasMigrations = sqlite
    .prepare("select 1 from sqlite_master where type = 'table' and name = 'kysely_migration'")
    .get()
  const names = hasMigrations
    ? (sqlite.prepare('select name from kysely_migration').pluck().all() as string[])
    : []
  const unknown = names.find((name) => !(name in migrations))
  if (unknown) {
    throw new UnusableDatabaseError(
      `${path} was written by another, probably newer version of the service: it has "${unknown}". ` +
        'Start that version, or put back the backup made before the upgrade: docs/operations.md says how.',
    )
  }
  if (mustHaveJobs && names.length === 0) throw jobsGone(path)
}

/** By a field of its header that nobody uses: without a write of its own nothing would be known. */
const checkWritable = (db: Kysely<Database>, path: string): Promise<Check> =>
  db
    .connection()
    .execute(async (connection) => {
      // To wait for another program would be to let everybody wait.
      await sql`pragma busy_timeout = 0`.execute(connection)
      try {
        await sql`pragma user_version = 0`.execute(connection)
      } finally {
        await sql.raw(`pragma busy_timeout = ${busyTimeoutMs}`).execute(connection)
      }
    })
    .then(
      () => ({ name: 'database', ok: true, detail: path }),
      (error: Error) => ({
        name: 'database',
        ok: false,
        detail: isDiskFull(error)
          ? `There is no room on the disk of ${path}: make some.`
          : `${path} cannot be written (${error.message}): docs/operations.md says why that may be.`,
      }),
    )

const isEmptyFile = (path: string): boolean => !existsSync(path) || statSync(path).size === 0

const jobsGone = (path: string): UnusableDatabaseError =>
  new UnusableDatabaseError(
    `${path} is missing or empty, but the work files, videos or backups of earlier jobs are there. ` +
      'Put the database back, or a backup of it: docs/operations.md says how. To begin anew without ' +
      'those jobs, move their files away first.',
  )

/** What SQLite says in codes, said in words. */
function explained<T>(path: string, work: () => T): T {
  try {
    return work()
  } catch (error) {
    const { code = '', message } = error as { code?: string; message: string }
    const why = `(${code ? `${code}: ` : ''}${message})`
    throw new UnusableDatabaseError(explain(), { cause: error })

    function explain(): string {
      if (/^SQLITE_(BUSY|LOCKED)/.test(code)) {
        return `${path} is locked by another program. Close that one, such as a database browser, and start again.`
      }
      if (/^SQLITE_(CORRUPT|NOTADB)/.test(code)) {
        return `${path} is damaged ${why}. Put back a backup: docs/operations.md says how.`
      }
      if (isDiskFull(error)) {
        return `There is no room on the disk of ${path}. Make some, a few MiB at least, and start again.`
      }
      if (code.startsWith('SQLITE_IOERR')) {
        return `${path} cannot be read or written ${why}. Look for errors of its disk in the kernel log, and whether that disk is full.`
      }
      return `${path} cannot be opened for writing ${why}. Check that it is a file, and that it and its directory belong to the user the service runs as.`
    }
  }
}
