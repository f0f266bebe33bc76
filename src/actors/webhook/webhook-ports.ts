/** What the WebhookActor needs from the outside world. */

import type { Scope } from '../../domain/client.ts'
import type { JobId, Timestamp } from '../../domain/job.ts'
import type {
  Delivery,
  DeliveryId,
  NewWebhook,
  Webhook,
  WebhookEvent,
  WebhookId,
  WebhookSecret,
} from '../../domain/webhook.ts'

/** Webhooks and deliveries at rest. What ends a job writes its deliveries too, in one commit. */
export type WebhookStore = {
  add(webhook: NewWebhook): Promise<void>
  count(owner: string | null): Promise<number>
  /** Without those that are for one job alone, oldest first. */
  list(scope: Scope): Promise<Webhook[]>
  find(id: WebhookId, scope: Scope): Promise<Webhook | undefined>
  /** With its deliveries. */
  remove(id: WebhookId): Promise<void>
  secrets(id: WebhookId): Promise<readonly WebhookSecret[]>
  setSecrets(id: WebhookId, secrets: readonly WebhookSecret[]): Promise<void>
  enable(id: WebhookId): Promise<void>
  addTest(id: DeliveryId, webhook: Webhook, at: Timestamp): Promise<void>
  /** Latest first; `undefined` when `after` is not one of them. */
  deliveries(id: WebhookId, page: DeliveryFilter): Promise<DeliveryPage>
  findDelivery(id: DeliveryId): Promise<Delivery | undefined>
  replay(id: DeliveryId, at: Timestamp): Promise<void>
  pending(): Promise<Outbox>
  /** What is to be sent now; of each job and webhook only the oldest that is pending. */
  due(at: Timestamp, besides: DueFilter): Promise<Due>
  /** An attempt is over. A webhook that is gone takes what else was pending for it along. */
  settle(id: DeliveryId, settlement: Settlement): Promise<void>
  /** Forgets what was settled before, and webhooks of single jobs that have nothing left to tell. */
  tidy(before: Timestamp): Promise<void>
}

export type DeliveryFilter = Readonly<{ limit: number; after?: DeliveryId }>

export type DeliveryPage = Readonly<{ deliveries: readonly Delivery[]; hasMore: boolean }>

/** What has yet to arrive, and since when the first of it has. */
export type Outbox = Readonly<{ pending: number; oldestAt?: Timestamp }>

export type DueFilter = Readonly<{
  inFlight: readonly DeliveryId[]
  /** Receivers that are left alone for now. */
  notTo: readonly string[]
  perReceiver: number
}>

export type Due = Readonly<{
  deliveries: readonly DueDelivery[]
  /** When the next one becomes due. */
  nextAt?: Timestamp
}>

export type DueDelivery = Readonly<{
  id: DeliveryId
  webhookId: WebhookId
  event: WebhookEvent
  jobId?: JobId
  createdAt: Timestamp
  /** When it was created or replayed. */
  since: Timestamp
  attempts: number
  url: string
  receiver: string
  secrets: readonly WebhookSecret[]
}>

/** What becomes of a delivery after an attempt. */
export type Verdict = Readonly<
  | { become: 'delivered' }
  | { become: 'pending'; nextAt: Timestamp }
  /** `gone`: its webhook gets nothing more at all. */
  | { become: 'failed'; gone: boolean }
>

export type Settlement = Readonly<{ at: Timestamp; attempts: number; result: AttemptResult }> &
  Verdict

/** Sends one message to an address that whoever asked for it may reach, and follows it nowhere else. */
export type WebhookSender = {
  /** Never rejects. */
  send(message: WebhookMessage): Promise<AttemptResult>
}

export type WebhookMessage = Readonly<{
  url: string
  id: DeliveryId
  body: string
  /** Each of them signs it. */
  keys: readonly string[]
}>

export type AttemptResult = Readonly<
  | { how: 'answered'; status: number; retryAfterMs?: number }
  /** For people: no connection, no answer in time, an address that is not to be reached. */
  | { how: 'failed'; error: string }
>
