/** Webhooks and deliveries as rows of the database. */
import type { Insertable, Selectable } from 'kysely'
import type { DueDelivery } from '../../actors/webhook/webhook-ports.ts'
import type { JobId, Timestamp } from '../../domain/job.ts'
import {
  type Delivery,
  type JobEvent,
  type NewWebhook,
  receiverOf,
  type Webhook,
  type WebhookSecret,
} from '../../domain/webhook.ts'
import type { Database } from './schema.ts'

export function webhookRow({
  id,
  owner,
  jobId,
  url,
  events,
  createdAt,
  secret,
}: NewWebhook): Insertable<Database['webhook']> {
  return {
    id,
    owner,
    job_id: jobId ?? null,
    url,
    events: JSON.stringify(events),
    secrets: JSON.stringify([{ key: secret }] satisfies WebhookSecret[]),
    created_at: createdAt,
  }
}

export function deliveryRow({
  id,
  webhook,
  event,
  jobId,
  at,
}: Readonly<{
  id: Delivery['id']
  webhook: Webhook
  event: Delivery['event']
  jobId: JobId | null
  at: Timestamp
}>): Insertable<Database['delivery']> {
  return {
    id,
    webhook_id: webhook.id,
    receiver: receiverOf(webhook.url),
    event,
    job_id: jobId,
    created_at: at,
    since: at,
    status: 'pending',
    attempts: 0,
    next_at: at,
  }
}

export const toWebhook = (row: Selectable<Database['webhook']>): Webhook => ({
  id: row.id,
  owner: row.owner,
  url: row.url,
  events: JSON.parse(row.events) as JobEvent[],
  createdAt: row.created_at,
  ...(row.job_id !== null && { jobId: row.job_id }),
  ...(row.disabled_at !== null && { disabledAt: row.disabled_at }),
})

export const toDelivery = (row: Selectable<Database['delivery']>): Delivery => ({
  id: row.id,
  webhookId: row.webhook_id,
  event: row.event,
  createdAt: row.created_at,
  status: row.status,
  attempts: row.attempts,
  ...(row.job_id !== null && { jobId: row.job_id }),
  ...(row.next_at !== null && { nextAt: row.next_at }),
  ...(row.last_at !== null && { lastAt: row.last_at }),
  ...(row.last_status !== null && { lastStatus: row.last_status }),
  ...(row.last_error !== null && { lastError: row.last_error }),
})

export const toDue = (
  row: Selectable<Database['delivery']> & { url: string; secrets: string },
): DueDelivery => ({
  id: row.id,
  webhookId: row.webhook_id,
  event: row.event,
  createdAt: row.created_at,
  since: row.since,
  attempts: row.attempts,
  url: row.url,
  receiver: row.receiver,
  secrets: JSON.parse(row.secrets) as WebhookSecret[],
  ...(row.job_id !== null && { jobId: row.job_id }),
})

export function currentSecret({
  secrets,
}: Pick<Selectable<Database['webhook']>, 'secrets'>): string {
  const [latest] = JSON.parse(secrets) as WebhookSecret[]
  if (!latest) throw new Error('a webhook has no secret')
  return latest.key
}
