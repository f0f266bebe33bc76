import type { Caused, Client, Scoped } from '../../domain/client.ts'
import type { RefusalError } from '../../domain/errors.ts'
import type { Timestamp } from '../../domain/job.ts'
import type { Delivery, DeliveryId, JobEvent, Webhook, WebhookId } from '../../domain/webhook.ts'
import type { Asks } from '../actor.ts'
import type {
  AttemptResult,
  DeliveryFilter,
  DeliveryPage,
  Due,
  DueDelivery,
  Outbox,
  Settlement,
} from './webhook-ports.ts'

/** Orders: each is answered when it is on disk. */
export type WebhookCommand = Caused &
  Readonly<
    | ({ type: 'register'; wish: WebhookWish; client: Client } & Asks<Registered | RefusalError>)
    | ({ type: 'remove'; id: WebhookId } & Scoped & Asks<Webhook | RefusalError>)
    | ({ type: 'rotate'; id: WebhookId; secret?: string } & Scoped & Asks<Rotated | RefusalError>)
    /** It gets messages again, though its receiver has said that it is gone. */
    | ({ type: 'enable'; id: WebhookId } & Scoped & Asks<Webhook | RefusalError>)
    | ({ type: 'test'; id: WebhookId } & Scoped & Asks<Delivery | RefusalError>)
    | ({ type: 'replay'; id: DeliveryId } & Scoped & Asks<Delivery | RefusalError>)
  >

/** Questions: answered from the record. */
export type WebhookQuestion = Readonly<
  | ({ type: 'describeOutbox' } & Asks<Outbox>)
  | ({ type: 'list' } & Scoped & Asks<readonly Webhook[]>)
  | ({ type: 'find'; id: WebhookId } & Scoped & Asks<Webhook | RefusalError>)
  | ({ type: 'deliveries'; id: WebhookId; page: DeliveryFilter } & Scoped &
      Asks<DeliveryPage | RefusalError>)
>

/** News, in the past tense. */
export type WebhookNews = Readonly<
  /** On disk, by whoever ended a job or asked for one. */
  | { type: 'deliveriesAdded' }
  | { type: 'lookDue'; at: Timestamp }
  | { type: 'found'; due: Due }
  | { type: 'lookFailed'; error: unknown }
  | { type: 'attempted'; delivery: DueDelivery; result: AttemptResult; random: number }
  | { type: 'preparationFailed'; delivery: DueDelivery; error: unknown; random: number }
  | { type: 'settled'; id: DeliveryId }
  | { type: 'settlingFailed'; id: DeliveryId; settlement: Settlement; error: unknown }
  | { type: 'settlingDue'; id: DeliveryId; settlement: Settlement }
  | { type: 'tidyDue' }
  | { type: 'tidyFailed'; error: unknown }
>

export type WebhookMessage = WebhookCommand | WebhookQuestion | WebhookNews

export type WebhookWish = Readonly<{ url: string; events: readonly JobEvent[]; secret?: string }>

/** The only time that the secret is told. */
export type Registered = Readonly<{ webhook: Webhook; secret: string }>

export type Rotated = Registered & Readonly<{ previousUntil: Timestamp }>
