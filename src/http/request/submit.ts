import type { Context } from 'hono'
import { type ActorRef, ask } from '../../actors/actor.ts'
import type { JobView, QueueMessage } from '../../actors/queue/queue-protocol.ts'
import { RefusalError } from '../../domain/errors.ts'
import type { VideoDraft } from '../../domain/job.ts'
import { orThrow } from '../response/outcome.ts'
import { quotaHeaders } from '../response/problem.ts'
import type { createJobRenderer } from '../views/job-view.ts'
import type { WebhookToldJson } from '../views/webhook-view.ts'
import type { ClientEnv } from './client-env.ts'
import { repeatedHeader, repetitionOf } from './edge.ts'
import type { RepeatedJobs } from './repeated-jobs.ts'

/** The image is stored first. In a cluster it is sent to PostgreSQL, and that ends after 100 s. */
const imageWithinMs = 120_000

export type Submitted = Readonly<{
  /** `repeated`: an earlier request created the job. */
  view: JobView & Readonly<{ repeated?: boolean }>
  /** What the answer says beside the job, whichever shape that has. */
  headers: Record<string, string>
  webhook: Partial<WebhookToldJson>
}>

export type SubmitOptions = Pick<ReturnType<typeof createJobRenderer>, 'secondsUntilNext'> &
  Readonly<{ repeatedJobs: RepeatedJobs }>

/** How both APIs hand a job in. */
export const createSubmit =
  (queue: ActorRef<QueueMessage>, { secondsUntilNext, repeatedJobs }: SubmitOptions) =>
  async (c: Context<ClientEnv>, draft: VideoDraft): Promise<Submitted> => {
    const { client, requestId } = c.var
    const repetition = repetitionOf(c)
    const command = { type: 'submit', draft, client, repetition, requestId } as const
    const answer = await ask(queue, command, draft.image ? imageWithinMs : undefined)
    if (answer instanceof RefusalError && answer.awaits) {
      const etaSeconds = await secondsUntilNext(answer.awaits)
      throw new RefusalError(answer.code, answer.message, { etaSeconds })
    }
    const view = orThrow(answer)
    const { webhook } = view
    if (view.repeated) repeatedJobs.add(view.job.id)
    return {
      view,
      headers: { ...quotaHeaders(view.quota), ...repeatedHeader(view) },
      webhook: webhook ? { webhook_id: webhook.id, webhook_secret: webhook.secret } : {},
    }
  }
