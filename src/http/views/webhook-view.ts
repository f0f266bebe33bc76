/** How webhooks, their deliveries and what they are told look from outside. */
import * as v from 'valibot'
import type { Registered, Rotated, WebhookView } from '../../actors/webhook/webhook-protocol.ts'
import { type Delivery, jobEvents } from '../../domain/webhook.ts'
import { Count, iso, isoTime, Time, Uuid } from './words.ts'

export const WebhookJson = v.object({
  id: Uuid,
  url: v.string(),
  events: v.array(v.picklist(jobEvents)),
  job_id: v.nullable(v.pipe(Uuid, v.description('it is for the end of this job alone'))),
  owner: v.nullable(
    v.pipe(v.string(), v.description('client whose jobs it reports; null: jobs of all clients')),
  ),
  registered_by: v.pipe(
    v.array(v.string()),
    v.description(
      'client that registered it; several: one of them, before this was recorded; none: a client without a token',
    ),
  ),
  status: v.pipe(
    v.picklist(['active', 'disabled', 'withheld']),
    v.description(
      '`disabled`: its receiver has returned 410; `withheld`: the client that registered it may not receive this any more',
    ),
  ),
  status_reason: v.nullable(
    v.pipe(v.string(), v.description('why nothing is sent; null while it is active')),
  ),
  created_at: Time,
  disabled_at: v.nullable(v.pipe(Time, v.description('when its receiver said that it is gone'))),
})
export type WebhookJson = v.InferOutput<typeof WebhookJson>

export const RegisteredJson = v.object({
  ...WebhookJson.entries,
  secret: v.pipe(v.string(), v.description('what deliveries are signed with; shown this once')),
})
export type RegisteredJson = v.InferOutput<typeof RegisteredJson>

/** Of the webhook for one job, in the answer to its submission. */
export const WebhookToldJson = v.object({
  webhook_id: v.pipe(Uuid, v.description('with `webhook_url`')),
  webhook_secret: v.pipe(
    v.string(),
    v.description(
      'with `webhook_url`: secret that signs its deliveries; returned to its submitter only',
    ),
  ),
})
export type WebhookToldJson = v.InferOutput<typeof WebhookToldJson>

export const RotatedJson = v.object({
  id: Uuid,
  secret: v.string(),
  previous_secret_until: v.nullable(
    v.pipe(Time, v.description('deliveries are signed with both until then')),
  ),
})
export type RotatedJson = v.InferOutput<typeof RotatedJson>

export const DeliveryJson = v.object({
  id: v.string(),
  webhook_id: Uuid,
  event: v.picklist([...jobEvents, 'webhook.test']),
  job_id: v.nullable(Uuid),
  status: v.picklist(['pending', 'delivered', 'failed']),
  attempts: Count,
  created_at: Time,
  next_attempt_at: v.nullable(Time),
  last_attempt_at: v.nullable(Time),
  last_status: v.nullable(v.pipe(Count, v.description('what the receiver answered'))),
  last_error: v.nullable(v.pipe(v.string(), v.description('why there was no answer'))),
})
export type DeliveryJson = v.InferOutput<typeof DeliveryJson>

/** Without secrets: those are shown once, by what makes them. */
export const webhookJson = ({
  id,
  url,
  events,
  createdAt,
  disabledAt,
  jobId,
  owner,
  registeredBy,
  withheld,
}: WebhookView): WebhookJson => ({
  id,
  url,
  events: [...events],
  job_id: jobId ?? null,
  owner,
  registered_by: [...registeredBy],
  ...statusOf(withheld, disabledAt),
  created_at: isoTime(createdAt),
  disabled_at: iso(disabledAt),
})

function statusOf(
  withheld: string | undefined,
  disabledAt: number | undefined,
): Pick<WebhookJson, 'status' | 'status_reason'> {
  if (withheld !== undefined) return { status: 'withheld', status_reason: withheld }
  return disabledAt === undefined
    ? { status: 'active', status_reason: null }
    : { status: 'disabled', status_reason: 'Its receiver has returned 410 Gone.' }
}

export const registeredJson = ({ webhook, secret }: Registered): RegisteredJson => ({
  ...webhookJson(webhook),
  secret,
})

export const rotatedJson = ({ webhook, secret, previousUntil }: Rotated): RotatedJson => ({
  id: webhook.id,
  secret,
  previous_secret_until: iso(previousUntil),
})

export const deliveryJson = (delivery: Delivery): DeliveryJson => ({
  id: delivery.id,
  webhook_id: delivery.webhookId,
  event: delivery.event,
  job_id: delivery.jobId ?? null,
  status: delivery.status,
  attempts: delivery.attempts,
  created_at: isoTime(delivery.createdAt),
  next_attempt_at: iso(delivery.nextAt),
  last_attempt_at: iso(delivery.lastAt),
  last_status: delivery.lastStatus ?? null,
  last_error: delivery.lastError ?? null,
})
