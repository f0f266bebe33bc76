/** State of the WebhookActor, and the effects that its rules ask for. */

import type { Timestamp } from '../../domain/job.ts'
import type { DeliveryId } from '../../domain/webhook.ts'
import type { Step } from '../actor.ts'
import type { DueDelivery, DueFilter, Settlement } from './webhook-ports.ts'
import type { WebhookCommand, WebhookQuestion } from './webhook-protocol.ts'

export type WebhookState = Readonly<{
  looking: boolean
  /** Something has changed since the look that is under way began. */
  lookAgain: boolean
  /** Being sent, or being noted down, and to whom. */
  inFlight: ReadonlyMap<DeliveryId, string>
  /**
   * Receivers whose last attempt failed and is to be repeated, and until when they are left alone:
   * then they are tried with one message at a time.
   */
  suspects: ReadonlyMap<string, Timestamp>
  /** When the next look is due, if nothing happens before. */
  wakeAt?: Timestamp
}>

export type WebhookEffect = Readonly<
  /** Performs the command in one transaction and replies. */
  | { do: 'execute'; command: WebhookCommand; at: Timestamp }
  /** Reads from the store and replies. */
  | { do: 'query'; question: WebhookQuestion }
  | ({ do: 'look' } & DueFilter)
  | { do: 'lookLater'; at: Timestamp; withinMs: number }
  | { do: 'send'; delivery: DueDelivery }
  | { do: 'settle'; id: DeliveryId; settlement: Settlement }
  | { do: 'settleLater'; id: DeliveryId; settlement: Settlement }
  | { do: 'tidy'; before: Timestamp }
  | { do: 'tidyLater' }
  | { do: 'logAttempt'; delivery: DueDelivery; settlement: Settlement }
  | { do: 'logUnprepared'; id: DeliveryId; error: unknown }
  | { do: 'logTidyFailure'; error: unknown }
  | { do: 'logTrouble'; trouble: 'reading' | 'writing'; error: unknown }
>

export type WebhookStep = Step<WebhookState, WebhookEffect>
