import SQLite from 'better-sqlite3'
import { Kysely, type SqliteDatabase, SqliteDialect, type SqliteStatement } from 'kysely'
import { LRUCache } from 'lru-cache'
import type { Check } from '../../../domain/check.ts'
import { migrations } from '../migrations/index.ts'
import type { Database } from '../schema.ts'
import { beginText } from '../transact.ts'
import { UnusableDatabaseError } from '../unusable-database.ts'
import { DeposedError, type Ownership, takeOwnership } from './ownership.ts'
import { backUp } from './sqlite-backup.ts'
import { describeTrouble, isDiskFull, writeTroubleOf } from './sqlite-errors.ts'
import { explained, isEmptyFile, jobsGone, refuseSecondPath } from './unusable-database.ts'

/** Time that a change waits for another program. Shorter than the patience of a request, 5 s. */
export const maxLockWaitMs = 3_000

export type OpenDatabase = Readonly<{
  db: Kysely<Database>
  /** A whole and checked copy in one file, made while the database is in use. */
  backup(to: string): Promise<void>
  /** Whether what is written now gets to the disk. */
  check(): Promise<Check>
  /** Runs one statement, outside of Kysely. Outside of a transaction it is one by itself. */
  run(text: string, parameters: readonly unknown[]): StatementResult
  /** Ends a transaction that somebody has left open. */
  rollBack(): void
  /** How long the next changes wait for another program, at most `maxLockWaitMs`. */
  waitForLock(ms: number): void
  close(): Promise<void>
}>

export type StatementResult =
  | Readonly<{ rows: readonly unknown[] }>
  | Readonly<{ changes: number | bigint; lastInsertRowid: number | bigint }>

export type OpenOptions = Readonly<{
  /** There are files of earlier jobs: an empty database cannot be the one that knows them. */
  mustHaveJobs?: boolean
  /** Frees some room on a disk that has none, if it can: even opening takes a little. */
  makeRoom?(): boolean
}>

/**
 * What has been committed survives a power cut: WAL with `synchronous=FULL`. Throws
 * `UnusableDatabaseError` rather than hand out a database that will not do. The caller owns the
 * database from now on: transactions of an earlier owner fail with `DeposedError`.
 */
export function openDatabase(path: string, options: OpenOptions = {}): OpenDatabase {
  const { mustHaveJobs = false, makeRoom } = options
  if (mustHaveJobs && isEmptyFile(path)) throw jobsGone(path)
  refuseSecondPath(path)
  const sqlite = explained(path, () => openSound(path, makeRoom))
  try {
    refuseOther(sqlite, path, mustHaveJobs)
    const ownership = explained(path, () => own(sqlite, path, makeRoom))
    const database = prepareOnce(sqlite, ownership)
    const db = new Kysely<Database>({ dialect: new SqliteDialect({ database }) })
    const waitForLock = createLockWait(sqlite)
    return {
      db,
      backup: (to) => backUp(sqlite, to),
      // In its turn, not inside the transaction of somebody else.
      check: () =>
        db
          .connection()
          .execute(async () => checkWritable({ sqlite, path, ownership, waitForLock })),
      waitForLock,
      run(text, parameters) {
        const statement = database.prepare(text)
        const run = () =>
          statement.reader ? { rows: statement.all(parameters) } : statement.run(parameters)
        if (sqlite.inTransaction || text === beginText) return run()
        const alone = sqlite.transaction(() => {
          ownership.check()
          return run()
        })
        return alone.immediate()
      },
      rollBack() {
        if (sqlite.inTransaction) sqlite.exec('rollback')
      },
      close: () => db.destroy(),
    }
  } catch (error) {
    sqlite.close()
    throw error
  }
}

/** A second connection, which can only read. It never waits for changes. */
export function openForReading(path: string): SqliteDatabase {
  const sqlite = new SQLite(path, { readonly: true, timeout: maxLockWaitMs })
  sqlite.pragma('cache_size = -4000')
  return prepareOnce(sqlite)
}

/** To prepare a statement takes longer than to run it, and there are few of them. */
const maxStatements = 200

function prepareOnce(sqlite: SQLite.Database, ownership?: Ownership): SqliteDatabase {
  // An evicted statement that runs stays valid: its caller holds it.
  const statements = new LRUCache<string, SqliteStatement>({ max: maxStatements })
  return {
    prepare(text) {
      const known = statements.get(text)
      if (known) return known
      // Its type asks for an array of parameters; Kysely gives one.
      const prepared = sqlite.prepare(text) as SqliteStatement
      const begins = ownership && text === beginText
      const statement = begins ? fenced(prepared, sqlite, ownership) : prepared
      statements.set(text, statement)
      return statement
    },
    close: () => sqlite.close(),
  }
}

/** Begins a transaction of the owner, and of nobody else. */
const fenced = (
  begin: SqliteStatement,
  sqlite: SQLite.Database,
  ownership: Ownership,
): SqliteStatement => ({
  reader: false,
  all: (parameters) => begin.all(parameters),
  iterate: (parameters) => begin.iterate(parameters),
  run(parameters) {
    const result = begin.run(parameters)
    try {
      ownership.check()
      return result
    } catch (error) {
      sqlite.exec('rollback')
      throw error
    }
  },
})

function openSound(path: string, makeRoom?: () => boolean): SQLite.Database {
  const sqlite = new SQLite(path)
  try {
    sqlite.pragma('journal_mode = WAL')
    sqlite.pragma('synchronous = FULL')
    sqlite.pragma('foreign_keys = ON')
    // The kernel keeps the pages of the file too: 16 MB of them in here, the default, gained nothing.
    sqlite.pragma('cache_size = -4000')
    sqlite.pragma(`busy_timeout = ${maxLockWaitMs}`)
    const found = sqlite.pragma('quick_check(1)', { simple: true })
    if (found !== 'ok') throw new SQLite.SqliteError(String(found), 'SQLITE_CORRUPT')
    sqlite.exec('BEGIN IMMEDIATE; ROLLBACK') // May we write, and does nobody else?
    return sqlite
  } catch (error) {
    sqlite.close()
    if (writeTroubleOf(error) && makeRoom?.()) return openSound(path)
    throw error
  }
}

function own(sqlite: SQLite.Database, path: string, makeRoom?: () => boolean): Ownership {
  try {
    return takeOwnership(sqlite, path)
  } catch (error) {
    if (writeTroubleOf(error) && makeRoom?.()) return own(sqlite, path)
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

function createLockWait(sqlite: SQLite.Database): (ms: number) => void {
  let now = maxLockWaitMs
  return (ms) => {
    const wanted = Math.round(Math.min(Math.max(ms, 0), maxLockWaitMs))
    if (wanted === now) return
    sqlite.pragma(`busy_timeout = ${wanted}`)
    now = wanted
  }
}

type Checked = Readonly<{
  sqlite: SQLite.Database
  path: string
  ownership: Ownership
  waitForLock(ms: number): void
}>

/** Without a write of its own nothing would be known. Waits for no other program. */
function checkWritable({ sqlite, path, ownership, waitForLock }: Checked): Check {
  waitForLock(0)
  try {
    sqlite
      .transaction(() => {
        ownership.check()
        ownership.renew()
      })
      .immediate()
    return { name: 'database', ok: true, detail: path }
  } catch (error) {
    if (error instanceof DeposedError) throw error
    const detail = isDiskFull(error)
      ? `There is no room on the disk of ${path}: make some.`
      : `${path} cannot be written (${(error as Error).message}): ${causeOf(error)}docs/operations.md says why that may be.`
    return { name: 'database', ok: false, detail }
  } finally {
    waitForLock(maxLockWaitMs)
  }
}

function causeOf(error: unknown): string {
  const trouble = writeTroubleOf(error)
  return trouble ? `${describeTrouble[trouble]}. ` : ''
}
