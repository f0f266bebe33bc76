import type { Job } from '../../domain/job.ts'
import type { Logger } from '../../domain/log.ts'
import type { Observe } from '../../domain/observation.ts'
import type { Delivery, Webhook, WebhookEvent } from '../../domain/webhook.ts'
import { type ActorRef, actorOf, type Behaviour, pipe, tellLater } from '../actor.ts'
import type { ArchiveStore } from '../archive/archive-ports.ts'
import type { DeliveryClock } from './delivery-clock.ts'
import type { KnownClient } from './registrant-rules.ts'
import { keysAt } from './secret-rules.ts'
import type { AttemptResult, DueDelivery, WebhookSender, WebhookStore } from './webhook-ports.ts'
import type { WebhookMessage } from './webhook-protocol.ts'
import { createWebhookRequests } from './webhook-requests.ts'
import type { WebhookEffect, WebhookState } from './webhook-state.ts'
import { startWebhooks, transition } from './webhook-transition.ts'

export type WebhookActorOptions = Readonly<{
  store: WebhookStore
  jobs: Pick<ArchiveStore, 'find'>
  sender: WebhookSender
  /** Shared by all incarnations: a crash does not move it. */
  clock: DeliveryClock
  /** Clients in `API_TOKENS`; none: nobody is asked for a token. */
  clients: readonly KnownClient[]
  /** What a receiver is told, as JSON. */
  render(told: ToldEvent): string
  observe: Observe
  log: Logger
}>

export type ToldEvent = Readonly<{
  id: Delivery['id']
  event: WebhookEvent
  createdAt: number
  /** Absent: a test. */
  job?: Job
  webhookId: Webhook['id']
}>

const tidyEveryMs = 6 * 60 * 60_000
const settleAgainMs = 1_000

/** Owns deliveries: sends what is due, in order per job, until it has arrived or its time is over. */
export function webhookBehaviour({
  store,
  jobs,
  sender,
  clock,
  clients,
  render,
  observe,
  log,
}: WebhookActorOptions): Behaviour<WebhookState, WebhookMessage> {
  const { execute, query } = createWebhookRequests({ store, clients, log })
  /** One timer for each key: the id of a delivery that is to be settled again, or a task. */
  const timers = new Map<Delivery['id'] | 'look' | 'tidy', NodeJS.Timeout>()

  return actorOf<WebhookState, WebhookMessage, WebhookEffect>({
    initial: startWebhooks(clients, clock.now()),
    transition: (state, message) => transition(state, message, clock.now()),
    perform,
    terminate() {
      for (const timer of timers.values()) clearTimeout(timer)
    },
  })

  function perform(effect: WebhookEffect, self: ActorRef<WebhookMessage>): void {
    switch (effect.do) {
      case 'execute':
        execute(effect.command, effect.now, self)
        break
      case 'query':
        query(effect.question, effect.now)
        break
      case 'recallFailures':
        pipe(
          self,
          store.failingLines(),
          (lines) => ({ type: 'failuresRecalled', lines }),
          (error) => ({ type: 'recallFailed', error }),
        )
        break
      case 'look':
        pipe(
          self,
          store.due(effect.steady, effect),
          (due) => ({ type: 'found', due, tookMs: clock.now().steady - effect.steady }),
          (error) => ({ type: 'lookFailed', error }),
        )
        break
      case 'lookLater':
        clearTimeout(timers.get('look'))
        timers.set('look', tellLater(self, effect.withinMs, { type: 'lookDue', at: effect.at }))
        break
      case 'send': {
        const { delivery } = effect
        const { steady: startedAt } = clock.now()
        pipe(
          self,
          send(delivery),
          (result) => {
            const tookMs = clock.now().steady - startedAt
            return { type: 'attempted', delivery, result, tookMs, random: Math.random() }
          },
          (error) => ({ type: 'preparationFailed', delivery, error, random: Math.random() }),
        )
        break
      }
      case 'settle': {
        const { id, settlement } = effect
        timers.delete(id)
        pipe(
          self,
          store.settle(id, settlement),
          () => ({ type: 'settled', id }),
          (error) => ({ type: 'settlingFailed', id, settlement, error }),
        )
        break
      }
      case 'settleLater': {
        const { id, settlement } = effect
        timers.set(id, tellLater(self, settleAgainMs, { type: 'settlingDue', id, settlement }))
        break
      }
      case 'keepClock':
        pipe(
          self,
          store.keepClock(effect.now),
          () => undefined,
          (error) => ({ type: 'clockNotKept', error }),
        )
        break
      case 'tidy':
        pipe(
          self,
          store.tidy(effect.before),
          () => undefined,
          (error) => ({ type: 'tidyFailed', error }),
        )
        break
      case 'tidyLater':
        timers.set('tidy', tellLater(self, tidyEveryMs, { type: 'tidyDue' }))
        break
      case 'logAttempt': {
        const { delivery, settlement } = effect
        const { id, webhookId, event, jobId, receiver } = delivery
        const { become, attempts, result } = settlement
        observe({ saw: 'deliveryAttempted', became: become })
        log[become === 'delivered' ? 'info' : 'warn'](
          { deliveryId: id, webhookId, event, jobId, receiver, status: become, attempts, result },
          'webhook delivery',
        )
        break
      }
      case 'logUnprepared':
        log.error(
          { err: effect.error, deliveryId: effect.id },
          'a delivery could not be made ready',
        )
        break
      case 'logTidyFailure':
        log.warn({ err: effect.error }, 'old deliveries could not be removed')
        break
      case 'logClockFailure':
        log.warn({ err: effect.error }, 'the clock of deliveries could not be stored')
        break
      case 'logTrouble':
        log.warn({ err: effect.error, trouble: effect.trouble }, 'webhook outbox')
        break
      default:
        effect satisfies never
    }
  }

  /** Rejects when the message cannot be prepared; a failed attempt is a result. */
  async function send({
    id,
    event,
    webhookId,
    createdAt,
    jobId,
    url,
    secrets,
  }: DueDelivery): Promise<AttemptResult> {
    const job = jobId && (await jobs.find(jobId, 'everything'))
    const body = render({ id, event, createdAt, webhookId, ...(job && { job }) })
    return sender.send({ url, id, body, keys: keysAt(secrets, clock.now().steady) })
  }
}
