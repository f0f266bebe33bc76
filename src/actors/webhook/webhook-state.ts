/** State of the WebhookActor, and the effects that its rules ask for. */

import type { Timestamp } from '../../domain/job.ts'
import type { DeliveryId } from '../../domain/webhook.ts'
import type { Step } from '../actor.ts'
import type { Now, Steady } from './delivery-clock.ts'
import type { Flight, Standings } from './dispatch-rules.ts'
import type { KnownClient } from './registrant-rules.ts'
import type { DueDelivery, DueFilter, Settlement } from './webhook-ports.ts'
import type { WebhookCommand, WebhookQuestion } from './webhook-protocol.ts'

export type WebhookState = Readonly<{
  /** Clients in `API_TOKENS`; none: nobody is asked for a token. */
  clients: readonly KnownClient[]
  looking: boolean
  /** Something has changed since the look that is under way began. */
  lookAgain: boolean
  /** Being sent, or being noted down. */
  inFlight: ReadonlyMap<DeliveryId, Flight>
  /** Being noted down as failed, without an attempt. */
  withheld: ReadonlySet<DeliveryId>
  /** What is known of receivers by their last attempt. */
  standings: Standings
  /** The next look is taken no earlier, whatever happens. */
  restUntil: Steady
  /** When the next look is due, if nothing happens before. */
  wakeAt?: Steady
  /** When the clock was last stored in this run. */
  clockKeptAt?: Steady
}>

export type WebhookEffect = Readonly<
  /** Performs the command in one transaction and replies. */
  | { do: 'execute'; command: WebhookCommand; now: Now }
  /** Reads from the store and replies. */
  | { do: 'query'; question: WebhookQuestion; now: Now }
  | { do: 'recallFailures' }
  | ({ do: 'look'; steady: Steady } & DueFilter)
  | { do: 'lookLater'; at: Steady; withinMs: number }
  | { do: 'keepClock'; now: Now }
  | { do: 'send'; delivery: DueDelivery }
  | { do: 'settle'; id: DeliveryId; settlement: Settlement }
  | { do: 'settleLater'; id: DeliveryId; settlement: Settlement }
  | { do: 'tidy'; before: Timestamp }
  | { do: 'tidyLater' }
  | { do: 'logAttempt'; delivery: DueDelivery; settlement: Settlement }
  | { do: 'logUnprepared'; id: DeliveryId; error: unknown }
  | { do: 'logTidyFailure'; error: unknown }
  | { do: 'logClockFailure'; error: unknown }
  | { do: 'logTrouble'; trouble: 'reading' | 'writing'; error: unknown }
>

export type WebhookStep = Step<WebhookState, WebhookEffect>
