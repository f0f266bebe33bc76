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

/**
 * Webhooks and their deliveries. Each command is one transaction: it decides and writes before any
 * other command, of this process or of another. Objects outside the scope count as missing.
 */
export type WebhookStore = RegistrationStore & DeliveryStore

export type RegistrationStore = {
  /** Webhooks of single jobs do not count towards the maximum of their owner. */
  register(webhook: NewWebhook, maxPerOwner: number): Promise<'registered' | 'too_many'>
  /** Without the webhooks of single jobs, oldest first. */
  list(scope: Scope): Promise<Webhook[]>
  find(id: WebhookId, scope: Scope): Promise<Webhook | undefined>
  /** Deletes its deliveries too. */
  remove(id: WebhookId, scope: Scope): Promise<Webhook | undefined>
  /** `change` is pure: a store that repeats a failed transaction calls it again. */
  changeSecrets(id: WebhookId, scope: Scope, change: ChangeSecrets): Promise<Webhook | undefined>
  enable(id: WebhookId, scope: Scope): Promise<Webhook | undefined>
}

export type ChangeSecrets = (secrets: readonly WebhookSecret[]) => readonly WebhookSecret[]

/** The outbox. The transaction that ends a job writes its deliveries (`JobStore`). */
export type DeliveryStore = {
  /** `undefined`: the webhook does not exist. Latest first; empty when `after` is unknown. */
  deliveries(id: WebhookId, scope: Scope, page: DeliveryFilter): Promise<DeliveryPage | undefined>
  addTest(test: NewTest, scope: Scope): Promise<QueuedDelivery>
  replay(id: DeliveryId, scope: Scope, at: Timestamp): Promise<QueuedDelivery>
  pending(): Promise<Outbox>
  /** What is to be sent now; of each job and webhook only the oldest that is pending. */
  due(at: Timestamp, besides: DueFilter): Promise<Due>
  /** An attempt is over. A webhook that is gone takes what else was pending for it along. */
  settle(id: DeliveryId, settlement: Settlement): Promise<void>
  /** Forgets what was settled before, and webhooks of single jobs that have nothing left to tell. */
  tidy(before: Timestamp): Promise<void>
}

export type NewTest = Readonly<{ id: DeliveryId; webhookId: WebhookId; at: Timestamp }>

/** Whether a test or a replay is pending now, or why not. */
export type QueuedDelivery = Readonly<
  | { outcome: 'pending'; delivery: Delivery }
  | { outcome: 'disabled'; webhookId: WebhookId }
  | { outcome: 'not_found' }
>

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
  send(message: OutgoingWebhook): Promise<AttemptResult>
}

export type OutgoingWebhook = Readonly<{
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
