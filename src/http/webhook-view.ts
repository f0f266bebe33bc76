/** How webhooks, their deliveries and what they are told look from outside. */

import type { ToldEvent } from '../actors/webhook/webhook-actor.ts'
import type { Registered, Rotated } from '../actors/webhook/webhook-protocol.ts'
import type { Delivery, Webhook } from '../webhook.ts'
import type { createJobRenderer } from './job-view.ts'
import { videoIdOf } from './openai/schemas.ts'

/** Without secrets: those are shown once, by what makes them. */
export const webhookJson = ({ id, url, events, createdAt, disabledAt, jobId }: Webhook) => ({
  id,
  url,
  events,
  job_id: jobId ?? null,
  created_at: iso(createdAt),
  disabled_at: iso(disabledAt),
})

export const registeredJson = ({ webhook, secret }: Registered) => ({
  ...webhookJson(webhook),
  secret,
})

export const rotatedJson = ({ webhook, secret, previousUntil }: Rotated) => ({
  id: webhook.id,
  secret,
  previous_secret_until: iso(previousUntil),
})

export const deliveryJson = (delivery: Delivery) => ({
  id: delivery.id,
  webhook_id: delivery.webhookId,
  event: delivery.event,
  job_id: delivery.jobId ?? null,
  status: delivery.status,
  attempts: delivery.attempts,
  created_at: iso(delivery.createdAt),
  next_attempt_at: iso(delivery.nextAt),
  last_attempt_at: iso(delivery.lastAt),
  last_status: delivery.lastStatus ?? null,
  last_error: delivery.lastError ?? null,
})

/** The body of a delivery: the envelope of OpenAI's events, which Standard Webhooks' verifiers read too. */
export const createEventBody =
  (render: Pick<ReturnType<typeof createJobRenderer>, 'job'>) =>
  ({ id, event, createdAt, job, webhookId }: ToldEvent): string =>
    JSON.stringify({
      id,
      object: 'event',
      type: event,
      created_at: Math.floor(createdAt / 1000),
      timestamp: iso(createdAt),
      data: !job
        ? { webhook_id: webhookId }
        : event.startsWith('video.')
          ? { id: videoIdOf(job.id) }
          : render.job({ job }, undefined),
    })

const iso = (at: number | undefined): string | null =>
  at === undefined ? null : new Date(at).toISOString()
