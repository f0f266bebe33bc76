/** Webhooks and deliveries as rows of the database. */
import type { Insertable, Selectable } from 'kysely'
import type { Steady } from '../../actors/webhook/delivery-clock.ts'
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
import type { DueRow } from './due-deliveries.ts'
import type { Database } from './schema.ts'

export function webhookRow({
  id,
  owner,
  registeredBy,
  jobId,
  url,
  events,
  createdAt,
  secret,
}: NewWebhook): Insertable<Database['webhook']> {
  return {
    id,
    owner,
    registered_by: JSON.stringify(registeredBy),
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
  steady,
}: Readonly<{
  id: Delivery['id']
  webhook: Webhook
  event: Delivery['event']
  jobId: JobId | null
  at: Timestamp
  steady: Steady
}>): Insertable<Database['delivery']> {
  return {
    id,
    webhook_id: webhook.id,
    receiver: receiverOf(webhook.url),
    event,
    job_id: jobId,
    created_at: at,
    since: steady,
    status: 'pending',
    attempts: 0,
    next_at: steady,
  }
}

export const toWebhook = (row: Selectable<Database['webhook']>): Webhook => ({
  id: row.id,
  owner: row.owner,
  registeredBy: registrantsIn(row),
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

export const toDue = (row: DueRow): DueDelivery => ({
  id: row.id,
  webhookId: row.webhook_id,
  event: row.event,
  createdAt: row.created_at,
  since: row.since,
  attempts: row.attempts,
  url: row.url,
  receiver: row.receiver,
  owner: row.owner,
  registeredBy: registrantsIn(row),
  party: row.party,
  line: row.line,
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

const registrantsIn = ({
  registered_by: text,
}: Pick<Selectable<Database['webhook']>, 'registered_by'>): readonly string[] =>
  text === null ? [] : (JSON.parse(text) as string[])
