import type { Outcome } from '../../../src/actors/queue/queue-ports.ts'
import type {
  DueDelivery,
  DueFilter,
  Verdict,
  WebhookStore,
} from '../../../src/actors/webhook/webhook-ports.ts'
import {
  type Delivery,
  type NewWebhook,
  newDeliveryId,
  newSecret,
  newWebhookId,
  ownEvents,
  type WebhookId,
  type WebhookSecret,
} from '../../../src/domain/webhook.ts'
import { aRequest, gpu0, jobId, midnight } from '../jobs.ts'
import type { JobStore } from './stores.ts'

/** Creates the stores under test over an empty database. The end of a job writes deliveries. */
export type CreateWebhookStores = () => Promise<
  Readonly<{ webhooks: WebhookStore; jobs: Pick<JobStore, 'commit'>; close(): Promise<void> }>
>

export const aWebhook = (known: Partial<NewWebhook> = {}): NewWebhook => ({
  id: newWebhookId(),
  owner: null,
  registeredBy: [],
  url: 'https://example.org/hook',
  events: ownEvents,
  createdAt: midnight,
  secret: newSecret(),
  ...known,
})

/** A filter that leaves nothing out. */
export const everythingDue: DueFilter = {
  inFlight: [],
  notTo: [],
  lanes: [],
  maxPerLine: 99,
  maxPerParty: 99,
}

export type Outbox = Awaited<ReturnType<typeof anOutbox>>

/** The stores under test with short commands for the tests. */
export async function anOutbox(create: CreateWebhookStores) {
  const { jobs, webhooks: store, close } = await create()
  await store.keepClock({ at: midnight, steady: midnight })

  const submits = (
    n: number,
    { owner = null, webhook }: { owner?: string | null; webhook?: NewWebhook } = {},
  ) =>
    jobs.commit([
      {
        op: 'submit',
        jobId: jobId(n),
        seq: n,
        request: aRequest(),
        owner,
        address: null,
        ...(webhook && { webhook }),
        at: midnight,
      },
    ])
  /** `success` needs an attempt, whose GPU is free again at once. */
  const finishes = (n: number, outcome: Outcome, at = midnight) => {
    const attempt = { jobId: jobId(n), epoch: 1, at }
    return jobs.commit([
      { op: 'claim', ...attempt, attempt: 1, gpu: gpu0, filename: `video-${n}.mp4` },
      { op: 'generated', ...attempt },
      { op: 'finish', ...attempt, outcome },
    ])
  }

  return {
    jobs,
    store,
    close,
    submits,
    finishes,
    async register(known: Partial<NewWebhook>): Promise<NewWebhook> {
      const webhook = aWebhook(known)
      await store.register(webhook, 1_000)
      return webhook
    },
    async ends(n: number, outcome: Outcome, at = midnight): Promise<void> {
      await submits(n)
      await finishes(n, outcome, at)
    },
    async deliveriesOf(id: WebhookId): Promise<readonly Delivery[]> {
      return (await store.deliveries(id, 'everything', { limit: 10 }))?.deliveries ?? []
    },
    /** Reads them from a test delivery, as the sender does. */
    async secretsOf(id: WebhookId): Promise<readonly WebhookSecret[]> {
      const test = { id: newDeliveryId(), webhookId: id, at: midnight, steady: midnight }
      await store.addTest(test, 'everything')
      const { deliveries } = await store.due(midnight, everythingDue)
      const secrets = deliveries.find((one) => one.id === test.id)?.secrets
      if (!secrets) throw new Error('the test delivery is not due')
      await store.settle(test.id, {
        become: 'delivered',
        at: midnight,
        attempts: 1,
        result: { how: 'answered', status: 200 },
      })
      return secrets
    },
    settles: (delivery: DueDelivery | undefined, verdict: Verdict) =>
      store.settle(delivery?.id as DueDelivery['id'], {
        ...verdict,
        at: midnight,
        attempts: 1,
        result: { how: 'failed', error: 'down' },
      }),
  }
}
