import type { ToldEvent } from '../../actors/webhook/webhook-actor.ts'
import type { createJobRenderer } from './job-view.ts'
import { videoIdOf } from './video-id.ts'

/** The body of a delivery: the envelope of OpenAI's events, which Standard Webhooks' verifiers read too. */
export const createEventBody =
  (render: Pick<ReturnType<typeof createJobRenderer>, 'job'>) =>
  ({ id, event, createdAt, job, webhookId }: ToldEvent): string =>
    JSON.stringify({
      id,
      object: 'event',
      type: event,
      created_at: Math.floor(createdAt / 1000),
      timestamp: new Date(createdAt).toISOString(),
      data: !job
        ? { webhook_id: webhookId }
        : event.startsWith('video.')
          ? { id: videoIdOf(job.id) }
          : render.job({ job }, undefined),
    })
