import SQLite from 'better-sqlite3'
import { Kysely, SqliteDialect } from 'kysely'
import { Migrator } from 'kysely/migration'
import type { Epoch, GpuId, JobId, JobStatus, RunningPhase, Timestamp, VideoSize } from '../job.ts'
import { migrations } from './migrations/index.ts'

export type Database = { job: JobTable; attempt: AttemptTable }

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
  seed: number
  requested_filename: string | null
  submitted_at: Timestamp
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
}

/** What has been committed survives a power cut: WAL with `synchronous=FULL`. */
export function openDatabase(path: string): Kysely<Database> {
  const sqlite = new SQLite(path)
  sqlite.pragma('journal_mode = WAL')
  sqlite.pragma('synchronous = FULL')
  sqlite.pragma('foreign_keys = ON')
  sqlite.pragma('busy_timeout = 5000')
  return new Kysely<Database>({ dialect: new SqliteDialect({ database: sqlite }) })
}

export async function migrateToLatest(db: Kysely<Database>): Promise<void> {
  const migrator = new Migrator({ db, provider: { getMigrations: async () => migrations } })
  const { error } = await migrator.migrateToLatest()
  if (error) throw error
}
