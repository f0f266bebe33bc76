/** Everything on disk: the data directory, its lock, the database, and the end of the previous run. */
import { type KnownClient, whyWithheld } from '../actors/webhook/registrant-rules.ts'
import type { WebhookStore } from '../actors/webhook/webhook-ports.ts'
import type { Config } from '../config/config.ts'
import { type AttemptKey, isOpen, type Job, type JobId } from '../domain/job.ts'
import type { Logger } from '../domain/log.ts'
import { createDirectories, removeUploads } from '../infra/disk/data-directory.ts'
import { lockDirectory } from '../infra/disk/lock.ts'
import { createReserve } from '../infra/disk/reserve.ts'
import { endFormerLife } from '../infra/generation/former-life.ts'
import type { Gpu } from '../infra/machine/gpus.ts'
import { forgetPreviews } from '../infra/media/previews.ts'
import { removeUnfinished } from '../infra/media/video-tools.ts'
import { resumeClock } from '../infra/store/clock-store.ts'
import { createHistoryStore } from '../infra/store/history-store.ts'
import { createRetentionStore } from '../infra/store/retention-store.ts'
import { withReserve } from '../infra/store/sqlite/with-reserve.ts'
import { createWebhookStore } from '../infra/store/webhook-store.ts'
import { openOnPostgres } from './database/postgres.ts'
import type { DatabaseOptions } from './database/service-database.ts'
import { openSqlite } from './database/sqlite.ts'

export type StorageOptions = Readonly<{
  gpus: readonly Gpu[]
  log: Logger
  /** The database, or a lock, belongs to this service no longer, or nothing can be written any more. */
  onLost(why: string): void
}>

/** More than there can be GPUs. */
const everyRunning = { status: ['running'], order: 'asc', limit: 10_000 } as const

export type Storage = Awaited<ReturnType<typeof openStorage>>

/**
 * Opens what is on disk and locks it. `resources` closes it again, also when this function fails
 * halfway. Throws with a message for the operator.
 */
export async function openStorage(
  config: Config,
  { gpus, log, onLost }: StorageOptions,
  resources: AsyncDisposableStack,
) {
  const { data, archiveDir, databaseUrl } = config
  const lock = resources.adopt(lockDirectory(config.dataDir), ({ release }) => release())
  createDirectories(data)
  const reserve = createReserve(config.reserve)
  const options: DatabaseOptions = {
    ...{ config, reserve, log, onLost },
    gpuModels: new Map(gpus.map(({ id, name }) => [id, name])),
    lockPath: lock.path,
  }
  const database = resources.adopt(
    await (databaseUrl === undefined ? openSqlite(options) : openOnPostgres(databaseUrl, options)),
    (opened) => opened.close(),
  )
  const { db, jobs, eta, backups } = database
  const { hold, setByMs } = await withReserve(reserve, () => resumeClock(db))
  if (setByMs !== 0) {
    const setBySeconds = Math.round(setByMs / 1000)
    log.warn({ setBySeconds }, 'the clock was set since the last run; open times are moved along')
  }
  const webhooks = createWebhookStore(db)
  await withReserve(reserve, () => checkRegistrants(webhooks, config.clients, log))
  const { jobs: running } = await jobs.archive.list(everyRunning, 'everything')
  await removeUnfinished(data.resultsDir)
  await removeUploads(data)
  await forgetPreviews(data)
  await endFormerLife(data, {
    running: running.map(keyOf),
    converting: running.filter(isConverting).map(keyOf),
    fateOf: async (jobId) => fateOf(await jobs.archive.find(jobId, 'everything')),
    archiveDir,
    log,
  })

  return {
    database,
    reserve,
    hold,
    ...(backups && { backups }),
    running,
    deliveryClock: await webhooks.readClock(),
    stores: {
      queue: jobs.queue,
      archive: jobs.archive,
      eta,
      history: createHistoryStore(db),
      retention: createRetentionStore(db),
      webhooks,
    },
    known: async (jobIds: readonly JobId[]) =>
      new Set((await jobs.archive.findMany(jobIds, 'everything')).map(({ id }) => id)),
  }
}

/** Says which webhooks the present configuration leaves without deliveries. */
async function checkRegistrants(
  webhooks: WebhookStore,
  clients: readonly KnownClient[],
  log: Logger,
): Promise<void> {
  // Webhooks of an earlier version: one of the present admins may have registered them.
  await webhooks.attribute(clients.filter(({ isAdmin }) => isAdmin).map(({ name }) => name))
  for (const webhook of await webhooks.list('everything')) {
    const reason = whyWithheld(webhook, clients)
    if (reason !== undefined) log.warn({ webhookId: webhook.id, reason }, 'webhook withheld')
  }
}

const keyOf = ({ id, epoch }: Job): AttemptKey => ({ jobId: id, epoch })

const isConverting = ({ state }: Job): boolean =>
  state.status === 'running' && state.phase === 'converting'

function fateOf(job: Job | undefined): 'open' | 'over' | 'unknown' {
  if (!job) return 'unknown'
  return isOpen(job) ? 'open' : 'over'
}
