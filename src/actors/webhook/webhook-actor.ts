import { causeOf, scopeOf } from '../../domain/client.ts'
import { RefusalError } from '../../domain/errors.ts'
import type { Job } from '../../domain/job.ts'
import type { Logger } from '../../domain/log.ts'
import type { Observe } from '../../domain/observation.ts'
import type { NewWebhook } from '../../domain/webhook.ts'
import {
  type Delivery,
  newDeliveryId,
  newSecret,
  newWebhookId,
  type Webhook,
  type WebhookEvent,
} from '../../domain/webhook.ts'
import { type ActorRef, type Behaviour, tell, tellAskerItFailed } from '../actor.ts'
import type { JobStore } from '../queue/queue-ports.ts'
import { keysAt, overlapMs, rotated } from './secret-rules.ts'
import type { DueDelivery, WebhookSender, WebhookStore } from './webhook-ports.ts'
import type {
  WebhookCommand,
  WebhookEffect,
  WebhookMessage,
  WebhookNews,
  WebhookQuestion,
  WebhookState,
} from './webhook-protocol.ts'
import { initialWebhookState, transition } from './webhook-transition.ts'

export type WebhookActorOptions = Readonly<{
  store: WebhookStore
  jobs: Pick<JobStore, 'find'>
  sender: WebhookSender
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

/** More are a mistake, and each costs a message per job. */
const maxWebhooks = 100

const tidyEveryMs = 6 * 60 * 60_000
const settleAgainMs = 1_000

/** Owns deliveries: sends what is due, in order per job, until it has arrived or its time is over. */
export function webhookBehaviour({
  store,
  jobs,
  sender,
  render,
  observe,
  log,
}: WebhookActorOptions): Behaviour<WebhookState, WebhookMessage> {
  const timers = new Set<NodeJS.Timeout>()
  let wake: NodeJS.Timeout | undefined

  return {
    init(self) {
      tell(self, { type: 'deliveriesAdded' })
      tell(self, { type: 'tidyDue' })
      return initialWebhookState
    },

    receive(state, message, self) {
      if ('replyTo' in message) {
        serve(message, self)
        return state
      }
      const [next, effects] = transition(state, message, Date.now())
      for (const effect of effects) perform(effect, self)
      return next
    },

    terminate() {
      clearTimeout(wake)
      for (const timer of timers) clearTimeout(timer)
    },
  }

  function perform(effect: WebhookEffect, self: ActorRef<WebhookMessage>): void {
    switch (effect.do) {
      case 'look':
        void store.due(Date.now(), effect).then(
          (due) => tell(self, { type: 'found', due }),
          (error: unknown) => tell(self, { type: 'lookFailed', error }),
        )
        break
      case 'lookLater':
        clearTimeout(wake)
        wake = setTimeout(() => tell(self, { type: 'lookDue', at: effect.at }), effect.withinMs)
        wake.unref()
        break
      case 'send': {
        const { delivery } = effect
        void send(delivery).then((result) => {
          tell(self, { type: 'attempted', delivery, result, random: Math.random() })
        })
        break
      }
      case 'settle': {
        const { id, settlement } = effect
        void store.settle(id, settlement).then(
          () => tell(self, { type: 'settled', id }),
          (error: unknown) => tell(self, { type: 'settlingFailed', id, settlement, error }),
        )
        break
      }
      case 'settleLater': {
        const { id, settlement } = effect
        later(settleAgainMs, self, { type: 'settlingDue', id, settlement })
        break
      }
      case 'tidy':
        store.tidy(effect.before).catch((error: unknown) => {
          log.warn({ err: error }, 'old deliveries could not be removed')
        })
        later(tidyEveryMs, self, { type: 'tidyDue' })
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
      case 'logTrouble':
        log.warn({ err: effect.error, trouble: effect.trouble }, 'webhook outbox')
        break
      default:
        effect satisfies never
    }
  }

  function later(ms: number, self: ActorRef<WebhookMessage>, news: WebhookNews): void {
    const timer = setTimeout(() => {
      timers.delete(timer)
      tell(self, news)
    }, ms).unref()
    timers.add(timer)
  }

  async function send({ id, event, webhookId, createdAt, jobId, url, secrets }: DueDelivery) {
    try {
      const job = jobId && (await jobs.find(jobId, 'everything'))
      const body = render({ id, event, createdAt, webhookId, ...(job && { job }) })
      return await sender.send({ url, id, body, keys: keysAt(secrets, Date.now()) })
    } catch (error) {
      log.error({ err: error, deliveryId: id }, 'a delivery could not be made ready')
      return { how: 'failed', error: 'It could not be made ready; the log says why.' } as const
    }
  }

  function serve(message: WebhookCommand | WebhookQuestion, self: ActorRef<WebhookMessage>): void {
    void answer(message).then(
      (reply) => {
        // Which answer belongs to which question is what `answer` is made of.
        tell(message.replyTo as ActorRef<unknown>, reply)
        if (message.type === 'test' || message.type === 'replay')
          tell(self, { type: 'deliveriesAdded' })
      },
      (error: unknown) =>
        tellAskerItFailed(message, 'webhooks could not be read or written', error),
    )
  }

  async function answer(message: WebhookCommand | WebhookQuestion): Promise<unknown> {
    switch (message.type) {
      case 'list':
        return store.list(message.scope)
      case 'describeOutbox':
        return store.pending()
      case 'register':
        return register(message)
      case 'replay':
        return replay(message)
    }
    const webhook = await store.find(message.id, message.scope)
    if (!webhook) return noWebhook(message.id)
    switch (message.type) {
      case 'find':
        return webhook
      case 'remove':
        await store.remove(webhook.id)
        logChange(message, webhook.id)
        return webhook
      case 'rotate': {
        const { secret = newSecret() } = message
        const at = Date.now()
        await store.setSecrets(webhook.id, rotated(await store.secrets(webhook.id), secret, at))
        logChange(message, webhook.id)
        return { webhook, secret, previousUntil: at + overlapMs }
      }
      case 'enable':
        await store.enable(webhook.id)
        logChange(message, webhook.id)
        return store.find(webhook.id, message.scope)
      case 'test': {
        if (webhook.disabledAt !== undefined) return isDisabled(webhook.id)
        const id = newDeliveryId()
        await store.addTest(id, webhook, Date.now())
        logChange(message, webhook.id, id)
        return store.findDelivery(id)
      }
      case 'deliveries':
        return store.deliveries(webhook.id, message.page)
    }
  }

  async function register(command: Extract<WebhookCommand, { type: 'register' }>) {
    const { wish, client } = command
    const scope = scopeOf(client)
    const owner = typeof scope === 'object' && 'owner' in scope ? scope.owner : null
    if ((await store.count(owner)) >= maxWebhooks) {
      return new RefusalError(
        'too_many_webhooks',
        `There are ${maxWebhooks} webhooks already; delete one first.`,
      )
    }
    const { secret = newSecret(), url, events } = wish
    const webhook: NewWebhook = {
      id: newWebhookId(),
      owner,
      url,
      events,
      createdAt: Date.now(),
      secret,
    }
    await store.add(webhook)
    logChange(command, webhook.id)
    return { webhook, secret }
  }

  async function replay(command: Extract<WebhookCommand, { type: 'replay' }>) {
    const { id, scope } = command
    const delivery = await store.findDelivery(id)
    const webhook = delivery && (await store.find(delivery.webhookId, scope))
    if (!webhook) {
      return new RefusalError('delivery_not_found', `No delivery has the id ${id}.`, {
        field: 'id',
      })
    }
    if (webhook.disabledAt !== undefined) return isDisabled(webhook.id)
    await store.replay(id, Date.now())
    logChange(command, webhook.id, id)
    return store.findDelivery(id)
  }

  function logChange(
    command: WebhookCommand,
    webhookId: Webhook['id'],
    deliveryId?: Delivery['id'],
  ): void {
    const which = { webhookId, ...(deliveryId && { deliveryId }) }
    log.info({ ...which, change: changes[command.type], ...causeOf(command) }, 'webhook changed')
  }
}

const changes: Record<WebhookCommand['type'], string> = {
  register: 'registered',
  remove: 'removed',
  rotate: 'secret rotated',
  enable: 'enabled',
  test: 'test asked for',
  replay: 'replay asked for',
}

const noWebhook = (id: Webhook['id']) =>
  new RefusalError('webhook_not_found', `No webhook has the id ${id}.`, { field: 'id' })

const isDisabled = (id: Webhook['id']) =>
  new RefusalError(
    'webhook_disabled',
    `The receiver has said 410 Gone; POST /webhook/${id}/enable says that it is back.`,
  )
