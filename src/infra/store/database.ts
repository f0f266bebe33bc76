import { existsSync, statSync } from 'node:fs'
import { rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import SQLite from 'better-sqlite3'
import {
  type Generated,
  type GeneratedAlways,
  Kysely,
  type SqliteDatabase,
  SqliteDialect,
  type SqliteStatement,
  sql,
} from 'kysely'
import { type Migration, Migrator } from 'kysely/migration'
import type { Check } from '../../domain/check.ts'
import type { ToldEstimate } from '../../domain/estimate.ts'
import type {
  Epoch,
  GpuId,
  JobId,
  JobStatus,
  RunningPhase,
  Timestamp,
  VideoSize,
} from '../../domain/job.ts'
import type { DeliveryId, DeliveryStatus, WebhookEvent, WebhookId } from '../../domain/webhook.ts'
import { sync } from '../disk/sync.ts'
import { migrations } from './migrations/index.ts'

export type Database = {
  job: JobTable
  attempt: AttemptTable
  gpu: GpuTable
  webhook: WebhookTable
  delivery: DeliveryTable
  submission: SubmissionTable
  estimate: EstimateTable
}

type JobTable = {
  seq: number
  id: JobId
  prompt: string
  /** Finds a prompt without an index as large as all prompts. */
  prompt_digest: string
  size: VideoSize
  frames: number
  steps: number
  guidance: number | null
  shift: number | null
  seed: number
  requested_filename: string | null
  /** JSON, an InputImage. */
  image: string | null
  /** The job whose video this one varies. */
  remix_of: JobId | null
  /** JSON, an object of texts. */
  metadata: string | null
  submitted_at: Timestamp
  /** The name of a token; null: nobody was asked for one. */
  owner: string | null
  /** Where it came from, if it has no owner and is counted against a limit. */
  address: string | null
  status: JobStatus
  epoch: Epoch
  attempts: number
  phase: RunningPhase | null
  gpu: GpuId | null
  filename: string | null
  claimed_at: Timestamp | null
  started_at: Timestamp | null
  generated_at: Timestamp | null
  cancel_requested_at: Timestamp | null
  ended_at: Timestamp | null
  /** JSON, a Failure. */
  failure: string | null
  /** JSON, VideoFacts. */
  video: string | null
  file_deleted_at: Timestamp | null
  /** Deleted for whoever asks: only its attempts are of use still. */
  deleted_at: Timestamp | null
  /** Deleted because its time was over: so much is told of it for a while. */
  expired_at: Timestamp | null
  pinned_at: Timestamp | null
  /** What its file takes, by `video`; null: there is none. */
  file_bytes: GeneratedAlways<number | null>
}

/** Which request each job was taken for, as long as it may be repeated. */
type SubmissionTable = {
  job_id: JobId
  caller: string
  key: string | null
  fingerprint: string
  at: Timestamp
}

type GpuTable = {
  id: GpuId
  /** JSON, a GpuHealth. */
  health: string
}

type WebhookTable = {
  id: WebhookId
  owner: string | null
  job_id: JobId | null
  url: string
  /** JSON, an array of JobEvent. */
  events: string
  /** JSON, an array of WebhookSecret, the latest first. */
  secrets: string
  created_at: Timestamp
  disabled_at: Timestamp | null
}

type DeliveryTable = {
  seq: Generated<number>
  id: DeliveryId
  webhook_id: WebhookId
  receiver: string
  event: WebhookEvent
  job_id: JobId | null
  created_at: Timestamp
  since: Timestamp
  status: DeliveryStatus
  attempts: number
  next_at: Timestamp | null
  last_at: Timestamp | null
  last_status: number | null
  last_error: string | null
}

type AttemptTable = {
  job_id: JobId
  epoch: Epoch
  number: number
  gpu: GpuId
  claimed_at: Timestamp
  started_at: Timestamp | null
  generated_at: Timestamp | null
  ended_at: Timestamp | null
  outcome: 'success' | 'error' | 'canceled' | 'released' | null
  /** JSON, a Failure. */
  failure: string | null
  /** Unknown of attempts made before it was written down. */
  task: string | null
  gpu_model: string | null
  /** JSON, a Trace. */
  trace: string | null
  /** JSON, a list of arguments. */
  command: string | null
}

type EstimateTable = { job_id: JobId } & Omit<ToldEstimate, 'jobId'>

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

/**
 * Brings the schema up to what this code needs. `beforeChange` is called with the first migration
 * that is missing when that changes a database that has been in use.
 */
export async function migrateToLatest(
  db: Kysely<Database>,
  beforeChange?: (migration: string) => Promise<void>,
  available: Record<string, Migration> = migrations,
): Promise<void> {
  const migrator = new Migrator({ db, provider: { getMigrations: async () => available } })
  const all = await migrator.getMigrations()
  const [next] = all.filter(({ executedAt }) => executedAt === undefined)
  if (next && all.some(({ executedAt }) => executedAt !== undefined))
    await beforeChange?.(next.name)
  const { error } = await migrator.migrateToLatest()
  if (error) throw error
}

/** All or nothing. Kysely's own loses the error of a full disk, on which SQLite rolls back unasked. */
export async function transact(
  db: Kysely<Database>,
  work: (connection: Kysely<Database>) => Promise<void>,
): Promise<void> {
  await db.connection().execute(async (connection) => {
    await sql`begin immediate`.execute(connection)
    try {
      await work(connection)
      await sql`commit`.execute(connection)
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
  const statements = new Map<string, SqliteStatement>()
  return {
    prepare(text) {
      const known = statements.get(text)
      if (known) return known
      const [oldest] = statements.keys()
      if (oldest !== undefined && statements.size >= maxStatements) statements.delete(oldest)
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

/** To a temporary name first: what is called a backup is one, and not the half of it. */
async function backUp(sqlite: SQLite.Database, to: string): Promise<void> {
  const unfinished = `${to}.unfinished`
  try {
    await rm(unfinished, { force: true })
    await sqlite.backup(unfinished)
    const copy = new SQLite(unfinished)
    try {
      copy.pragma('journal_mode = DELETE') // One file, with nothing beside it that belongs to it.
      const found = copy.pragma('quick_check(1)', { simple: true })
      if (found !== 'ok') throw new Error(`the database is damaged: ${found}`)
    } finally {
      copy.close()
    }
    await sync(unfinished)
    await rename(unfinished, to)
    await sync(dirname(to))
  } catch (error) {
    await rm(unfinished, { force: true })
    throw error
  }
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
