import { readConfig } from '../../config/config.ts'
import { messageOf } from '../../domain/errors.ts'
import { lockDatabase, lockDirectory } from '../../infra/disk/lock.ts'
import { migrateToLatest } from '../../infra/store/migrate.ts'
import { migratePostgres } from '../../infra/store/postgres/migrate-postgres.ts'
import { moveToPostgres } from '../../infra/store/postgres/move-to-postgres.ts'
import { openDatabase } from '../../infra/store/sqlite/database.ts'
import { isEmptyFile } from '../../infra/store/sqlite/unusable-database.ts'
import { createBackups } from '../../infra/upkeep/backups.ts'
import { CommandError, exitCodes } from '../terminal/failure.ts'
import { type OutputOptions, say, show } from '../terminal/output.ts'

export type MigrateOptions = OutputOptions & Readonly<{ to?: string }>

/** Moves the records of this machine's service from SQLite to PostgreSQL. The service has to be stopped. */
export async function migrate({ to, ...output }: MigrateOptions): Promise<void> {
  if (to === undefined) {
    throw new CommandError(
      exitCodes.usage,
      'Say where to: --to postgres://user:password@host/name, or DATABASE_URL in the environment.',
    )
  }
  try {
    const moved = await move(to)
    show(moved, output, () => {
      const { job, attempt, webhook } = moved.rows
      const found = `${job} jobs with ${attempt} attempts, and ${webhook} webhooks`
      return moved.outcome === 'moved'
        ? `Moved and compared: ${found}. Start the service with DATABASE_URL from now on; ${moved.from} is left as it is.`
        : `Nothing to do: ${found} are there already, with the same content.`
    })
  } catch (error) {
    if (error instanceof CommandError) throw error
    throw new CommandError(exitCodes.failed, messageOf(error), { cause: error })
  }
}

async function move(url: string) {
  const { dataDir, data, backupsDir } = readConfig({ ...process.env, DATABASE_URL: url })
  const { stateDb } = data
  await using locks = new AsyncDisposableStack()
  locks.adopt(lockDirectory(dataDir), ({ release }) => release())
  locks.adopt(lockDatabase(stateDb), ({ release }) => release())
  if (isEmptyFile(stateDb)) {
    throw new CommandError(
      exitCodes.file,
      `There is no database at ${stateDb}. Set DATA_DIR or STATE_DB to what the service has.`,
    )
  }
  const source = openDatabase(stateDb)
  try {
    await migrateToLatest(source.db, createBackups(backupsDir, source).beforeMigration)
  } finally {
    await source.close()
  }
  await migratePostgres(url)
  let told = 0
  const moved = await moveToPostgres({
    stateDb,
    url,
    onProgress(table, done, total) {
      if (done < total && performance.now() - told < progressMs) return
      told = performance.now()
      say(`${table}: ${done} of ${total}`)
    },
  })
  return { ...moved, from: stateDb }
}

/** So often people are told how far it is. */
const progressMs = 1_000
