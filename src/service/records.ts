/** What the node that leads reads and writes in the database. */
import { type KnownClient, whyWithheld } from '../actors/webhook/registrant-rules.ts'
import type { WebhookStore } from '../actors/webhook/webhook-ports.ts'
import type { Config } from '../config/config.ts'
import type { JobId } from '../domain/job.ts'
import type { Logger } from '../domain/log.ts'
import type { Reserve } from '../infra/disk/reserve.ts'
import { resumeClock } from '../infra/store/clock-store.ts'
import { createHistoryStore } from '../infra/store/history-store.ts'
import { createRetentionStore } from '../infra/store/retention-store.ts'
import { withReserve } from '../infra/store/sqlite/with-reserve.ts'
import { createWebhookStore } from '../infra/store/webhook-store.ts'
import type { ServiceDatabase } from './database/service-database.ts'

/** All running jobs: more than there can be GPUs. */
export const everyRunning = { status: ['running'], order: 'asc', limit: 10_000 } as const

export type Records = Awaited<ReturnType<typeof openRecords>>

/** Takes up the clock and the webhooks of the previous leader. */
export async function openRecords(
  { db, jobs, eta }: ServiceDatabase,
  { config, reserve, log }: Readonly<{ config: Config; reserve: Reserve; log: Logger }>,
) {
  const { hold, setByMs } = await withReserve(reserve, () => resumeClock(db))
  if (setByMs !== 0) {
    const setBySeconds = Math.round(setByMs / 1000)
    log.warn({ setBySeconds }, 'the clock was set since the last run; open times are moved along')
  }
  const webhooks = createWebhookStore(db)
  await withReserve(reserve, () => checkRegistrants(webhooks, config.clients, log))
  return {
    hold,
    deliveryClock: await webhooks.readClock(),
    stores: {
      queue: jobs.queue,
      archive: jobs.archive,
      eta,
      history: createHistoryStore(db),
      retention: createRetentionStore(db),
      webhooks,
    },
    known: async (jobIds: readonly JobId[]): Promise<ReadonlySet<JobId>> =>
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
