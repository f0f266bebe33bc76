import type { Caused, Client, Scoped } from '../../domain/client.ts'
import type { RefusalError } from '../../domain/errors.ts'
import type { Delivery, DeliveryId, JobEvent, Webhook, WebhookId } from '../../domain/webhook.ts'
import type { Asks } from '../actor.ts'
import type { Steady } from './delivery-clock.ts'
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
    /** It gets messages again, though its receiver has said that it is gone, or it was withheld. */
    | ({ type: 'enable'; id: WebhookId; client: Client } & Scoped &
        Asks<WebhookView | RefusalError>)
    | ({ type: 'test'; id: WebhookId } & Scoped & Asks<Delivery | RefusalError>)
    | ({ type: 'replay'; id: DeliveryId } & Scoped & Asks<Delivery | RefusalError>)
  >

/** Questions: answered from the record. */
export type WebhookQuestion = Readonly<
  | ({ type: 'describeOutbox' } & Asks<Outbox>)
  | ({ type: 'list' } & Scoped & Asks<readonly WebhookView[]>)
  | ({ type: 'find'; id: WebhookId } & Scoped & Asks<WebhookView | RefusalError>)
  | ({ type: 'deliveries'; id: WebhookId; page: DeliveryFilter } & Scoped &
      Asks<DeliveryPage | RefusalError>)
>

/** News, in the past tense. */
export type WebhookNews = Readonly<
  /** On disk, by whoever ended a job or asked for one. */
  | { type: 'deliveriesAdded' }
  | { type: 'lookDue'; at: Steady }
  | { type: 'failuresRecalled'; lines: readonly string[] }
  | { type: 'recallFailed'; error: unknown }
  | { type: 'found'; due: Due; tookMs: number }
  | { type: 'lookFailed'; error: unknown }
  | {
      type: 'attempted'
      delivery: DueDelivery
      result: AttemptResult
      tookMs: number
      random: number
    }
  | { type: 'preparationFailed'; delivery: DueDelivery; error: unknown; random: number }
  | { type: 'settled'; id: DeliveryId }
  | { type: 'settlingFailed'; id: DeliveryId; settlement: Settlement; error: unknown }
  | { type: 'settlingDue'; id: DeliveryId; settlement: Settlement }
  | { type: 'tidyDue' }
  | { type: 'tidyFailed'; error: unknown }
  | { type: 'clockNotKept'; error: unknown }
>

export type WebhookMessage = WebhookCommand | WebhookQuestion | WebhookNews

export type WebhookWish = Readonly<{ url: string; events: readonly JobEvent[]; secret?: string }>

/** `withheld`: why nothing is sent to it, whatever its receiver does. */
export type WebhookView = Webhook & Readonly<{ withheld?: string }>

/** The only time that the secret is told. */
export type Registered = Readonly<{ webhook: WebhookView; secret: string }>

export type Rotated = Readonly<{ webhook: Webhook; secret: string; previousUntil: number }>
