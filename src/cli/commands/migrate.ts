import { hostname } from 'node:os'
import * as v from 'valibot'
import { type Config, readConfig } from '../../config/config.ts'
import { messageOf } from '../../domain/errors.ts'
import { NodeName } from '../../domain/node.ts'
import { lockDatabase, lockDirectory } from '../../infra/disk/lock.ts'
import { detectGpus, type Gpu } from '../../infra/machine/gpus.ts'
import { migrateToLatest } from '../../infra/store/migrate.ts'
import { moveToPostgres } from '../../infra/store/postgres/move-to-postgres.ts'
import { explainRefusal } from '../../infra/store/postgres/refusals.ts'
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
    for (const jobId of moved.images.missing) {
      say(
        `The image of job ${jobId} is not in work/ as it was submitted. Without it the job cannot start.`,
      )
    }
    show(moved, output, () => textOf(moved))
  } catch (error) {
    if (error instanceof CommandError) throw error
    const why = explainRefusal(error, to) ?? messageOf(error)
    throw new CommandError(exitCodes.failed, why, { cause: error })
  }
}

function textOf({ outcome, rows, gpus, images, node, from }: Awaited<ReturnType<typeof move>>) {
  const { job, attempt, webhook } = rows
  const found = `${job} jobs with ${attempt} attempts and ${images.moved} images, and ${webhook} webhooks`
  const owner = `GPU ${gpus.join(', ')} belongs to node "${node}" (NODE_NAME).`
  return outcome === 'moved'
    ? `Moved and compared: ${found}. ${owner} Start the service with DATABASE_URL from now on; ${from} is left as it is.`
    : `Nothing to do: ${found} are there already, with the same content. ${owner}`
}

async function move(url: string) {
  // Which address the service will have is of no interest here.
  const config = readConfig({ ...process.env, DATABASE_URL: url, HOST: '0.0.0.0' })
  const { dataDir, data, backupsDir } = config
  const name = nameOf(config)
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
  const gpus = await gpusOf(config)
  const source = openDatabase(stateDb)
  try {
    await migrateToLatest(source.db, createBackups(backupsDir, source).beforeMigration)
  } finally {
    await source.close()
  }
  let told = 0
  const moved = await moveToPostgres({
    stateDb,
    url,
    node: { name, gpus, data },
    onProgress(table, done, total) {
      if (done < total && performance.now() - told < progressMs) return
      told = performance.now()
      say(`${table}: ${done} of ${total}`)
    },
  })
  return { ...moved, node: name, from: stateDb }
}

/** So often people are told how far it is. */
const progressMs = 1_000

/** As the service is called in its cluster. */
function nameOf({ node: { name } }: Config): NodeName {
  const own = v.safeParse(NodeName, name ?? hostname())
  if (own.success) return own.output
  throw new CommandError(
    exitCodes.usage,
    `NODE_NAME must be set: the host name "${hostname()}" cannot name a node.`,
  )
}

/** With other numbers, a running generation would be looked for on another GPU. */
async function gpusOf(config: Config): Promise<readonly Gpu[]> {
  try {
    return await detectGpus(config)
  } catch (error) {
    throw new CommandError(
      exitCodes.failed,
      `The GPUs of the service have to be known. Set GPU_IDS to what the service has. ${messageOf(error)}`,
      { cause: error },
    )
  }
}
