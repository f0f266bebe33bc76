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
import type { Now, Steady } from './delivery-clock.ts'

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
  changeSecrets(id: WebhookId, scope: Scope, change: ChangeSecrets): Promise<SecretsChange>
  /** `registrants` is pure, as `change` is. */
  enable(
    id: WebhookId,
    scope: Scope,
    registrants: (webhook: Webhook) => readonly string[],
  ): Promise<Webhook | undefined>
  /** Says who may have registered webhooks of which this was not recorded. */
  attribute(registeredBy: readonly string[]): Promise<void>
}

/** `undefined` refuses the change. */
export type ChangeSecrets = (
  secrets: readonly WebhookSecret[],
) => readonly WebhookSecret[] | undefined

export type SecretsChange = Readonly<
  | { outcome: 'changed'; webhook: Webhook }
  | { outcome: 'refused'; secrets: readonly WebhookSecret[] }
  | { outcome: 'not_found' }
>

/** The outbox. The transaction that ends a job writes its deliveries (`JobStore`). */
export type DeliveryStore = {
  /** `undefined`: the webhook does not exist. Latest first; empty when `after` is unknown. */
  deliveries(id: WebhookId, scope: Scope, page: DeliveryFilter): Promise<DeliveryPage | undefined>
  addTest(test: NewTest, scope: Scope): Promise<QueuedDelivery>
  replay(id: DeliveryId, scope: Scope, steady: Steady): Promise<QueuedDelivery>
  pending(): Promise<Outbox>
  /**
   * What is to be sent now; of each job and webhook only the oldest that is pending. Clients take
   * turns in the list, so that the backlog of one does not hide the deliveries of the others.
   */
  due(steady: Steady, besides: DueFilter): Promise<Due>
  /** Lines of which a delivery is to be repeated. */
  failingLines(): Promise<readonly string[]>
  /** An attempt is over. A webhook that is gone takes what else was pending for it along. */
  settle(id: DeliveryId, settlement: Settlement): Promise<void>
  /** Forgets what was settled before, and webhooks of single jobs that have nothing left to tell. */
  tidy(before: Timestamp): Promise<void>
  /** What the clock of deliveries showed when it was last stored. */
  readClock(): Promise<Now>
  /** From now on, the end of a job writes its deliveries with this time. */
  keepClock(now: Now): Promise<void>
}

export type NewTest = Readonly<{ id: DeliveryId; webhookId: WebhookId }> & Now

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
  /** Lines that get nothing now. */
  notTo: readonly string[]
  /** Lines of a lane; all others are in a third one. Parties take turns in each. */
  lanes: readonly (readonly string[])[]
  maxPerLine: number
  maxPerParty: number
}>

export type Due = Readonly<{
  deliveries: readonly DueDelivery[]
  /** When the next one becomes due. */
  nextAt?: Steady
}>

export type DueDelivery = Readonly<{
  id: DeliveryId
  webhookId: WebhookId
  event: WebhookEvent
  jobId?: JobId
  createdAt: Timestamp
  /** When it was created or replayed. */
  since: Steady
  attempts: number
  url: string
  receiver: string
  owner: Webhook['owner']
  registeredBy: Webhook['registeredBy']
  /** One word for whoever registered the webhook. */
  party: string
  /** One word for the receiver as the party reaches it. */
  line: string
  secrets: readonly WebhookSecret[]
}>

/** What becomes of a delivery after an attempt. */
export type Verdict = Readonly<
  | { become: 'delivered' }
  | { become: 'pending'; nextAt: Steady }
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
