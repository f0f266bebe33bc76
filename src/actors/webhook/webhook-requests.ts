/** Commands and questions of the WebhookActor: a call of the store each, and a typed reply. */
import { type Client, causeOf } from '../../domain/client.ts'
import { RefusalError } from '../../domain/errors.ts'
import type { Logger } from '../../domain/log.ts'
import {
  type Delivery,
  type DeliveryId,
  newDeliveryId,
  newSecret,
  newWebhookId,
  type Webhook,
  type WebhookId,
} from '../../domain/webhook.ts'
import { type ActorRef, pipe, pipeAnswer } from '../actor.ts'
import type { Now } from './delivery-clock.ts'
import { type KnownClient, takeOver, whyWithheld } from './registrant-rules.ts'
import { firstEnd, maxSecrets, overlapMs, rotated } from './secret-rules.ts'
import type { DeliveryPage, QueuedDelivery, WebhookStore } from './webhook-ports.ts'
import type {
  Registered,
  Rotated,
  WebhookCommand,
  WebhookMessage,
  WebhookQuestion,
  WebhookView,
} from './webhook-protocol.ts'

export type WebhookRequestsOptions = Readonly<{
  store: WebhookStore
  clients: readonly KnownClient[]
  log: Logger
}>

/** More are a mistake, and each costs a message per job. */
const maxWebhooks = 100

export function createWebhookRequests({ store, clients, log }: WebhookRequestsOptions) {
  return { execute, query }

  function execute(command: WebhookCommand, now: Now, self: ActorRef<WebhookMessage>): void {
    switch (command.type) {
      case 'register':
        pipeAnswer(command.replyTo, register(command, now), why)
        break
      case 'remove': {
        const removed = store.remove(command.id, command.scope)
        pipeAnswer(command.replyTo, changed(command, removed), why)
        break
      }
      case 'rotate':
        pipeAnswer(command.replyTo, rotate(command, now), why)
        break
      case 'enable': {
        const { id, scope, client } = command
        const enabled = store.enable(id, scope, (webhook) =>
          takeOver(webhook, clients, client.name),
        )
        pipeAnswer(command.replyTo, changed(command, enabled), why)
        break
      }
      case 'test': {
        const test = { id: newDeliveryId(), webhookId: command.id, ...now }
        const added = store.addTest(test, command.scope)
        pipeAnswer(command.replyTo, queued(command, added, now, self), why)
        break
      }
      case 'replay': {
        const replayed = store.replay(command.id, command.scope, now.steady)
        pipeAnswer(command.replyTo, queued(command, replayed, now, self), why)
        break
      }
      default:
        command satisfies never
    }
  }

  function query(question: WebhookQuestion, now: Now): void {
    switch (question.type) {
      case 'list':
        pipeAnswer(question.replyTo, list(question), why)
        break
      case 'find':
        pipeAnswer(question.replyTo, find(question), why)
        break
      case 'deliveries':
        pipeAnswer(question.replyTo, deliveries(question, now), why)
        break
      case 'describeOutbox':
        pipeAnswer(question.replyTo, store.pending(), why)
        break
      default:
        question satisfies never
    }
  }

  async function register(
    command: Command<'register'>,
    { at }: Now,
  ): Promise<Registered | RefusalError> {
    const { client, wish } = command
    const { url, events, secret = newSecret() } = wish
    const webhook: Webhook = {
      id: newWebhookId(),
      owner: ownerOf(client),
      registeredBy: client.name === null ? [] : [client.name],
      url,
      events,
      createdAt: at,
    }
    if ((await store.register({ ...webhook, secret }, maxWebhooks)) === 'too_many') return tooMany()
    logChange(command, webhook.id)
    return { webhook, secret }
  }

  async function rotate(
    command: Command<'rotate'>,
    { at, steady }: Now,
  ): Promise<Rotated | RefusalError> {
    const { id, scope, secret = newSecret() } = command
    const change = await store.changeSecrets(id, scope, (secrets) =>
      rotated(secrets, secret, steady),
    )
    if (change.outcome === 'not_found') return noWebhook(id)
    if (change.outcome === 'refused')
      return tooManySecrets(at + firstEnd(change.secrets, steady) - steady)
    logChange(command, id)
    return { webhook: change.webhook, secret, previousUntil: at + overlapMs }
  }

  /** A command that leaves the webhook, or the webhook that was. */
  async function changed(
    command: Command<'remove' | 'enable'>,
    change: Promise<Webhook | undefined>,
  ): Promise<WebhookView | RefusalError> {
    const webhook = await change
    if (!webhook) return noWebhook(command.id)
    logChange(command, webhook.id)
    return viewOf(webhook)
  }

  /** A command that makes a delivery pending. The actor sends it at once. */
  function queued(
    command: Command<'test' | 'replay'>,
    outcome: Promise<QueuedDelivery>,
    now: Now,
    self: ActorRef<WebhookMessage>,
  ): Promise<Delivery | RefusalError> {
    const reply = outcome.then((queued) => {
      if (queued.outcome === 'not_found')
        return command.type === 'test' ? noWebhook(command.id) : noDelivery(command.id)
      if (queued.outcome === 'disabled') return isDisabled(queued.webhookId)
      logChange(command, queued.delivery.webhookId, queued.delivery.id)
      return onWallClock(queued.delivery, now)
    })
    pipe(
      self,
      reply,
      (one) => (one instanceof RefusalError ? undefined : { type: 'deliveriesAdded' }),
      () => undefined,
    )
    return reply
  }

  async function list({ scope }: Question<'list'>): Promise<readonly WebhookView[]> {
    return (await store.list(scope)).map(viewOf)
  }

  async function find({ id, scope }: Question<'find'>): Promise<WebhookView | RefusalError> {
    const webhook = await store.find(id, scope)
    return webhook ? viewOf(webhook) : noWebhook(id)
  }

  async function deliveries(
    { id, scope, page }: Question<'deliveries'>,
    now: Now,
  ): Promise<DeliveryPage | RefusalError> {
    const found = await store.deliveries(id, scope, page)
    if (!found) return noWebhook(id)
    return { ...found, deliveries: found.deliveries.map((one) => onWallClock(one, now)) }
  }

  function viewOf(webhook: Webhook): WebhookView {
    const withheld = whyWithheld(webhook, clients)
    return withheld === undefined ? webhook : { ...webhook, withheld }
  }

  function logChange(command: WebhookCommand, webhookId: WebhookId, deliveryId?: DeliveryId): void {
    const which = { webhookId, ...(deliveryId && { deliveryId }) }
    log.info({ ...which, change: changes[command.type], ...causeOf(command) }, 'webhook changed')
  }
}

type Command<Type extends WebhookCommand['type']> = Extract<WebhookCommand, { type: Type }>
type Question<Type extends WebhookQuestion['type']> = Extract<WebhookQuestion, { type: Type }>

/** Reason in the error of a request that has no reply. */
const why = 'webhooks could not be read or written'

const changes: Record<WebhookCommand['type'], string> = {
  register: 'registered',
  remove: 'removed',
  rotate: 'secret rotated',
  enable: 'enabled',
  test: 'test asked for',
  replay: 'replay asked for',
}

/** The next attempt by the wall clock as it is now, for people. */
const onWallClock = (delivery: Delivery, { at, steady }: Now): Delivery =>
  delivery.nextAt === undefined
    ? delivery
    : { ...delivery, nextAt: at + Math.max(0, delivery.nextAt - steady) }

const ownerOf = (client: Client): string | null => (client.isAdmin ? null : client.name)

const tooMany = () =>
  new RefusalError(
    'too_many_webhooks',
    `There are ${maxWebhooks} webhooks already; delete one first.`,
  )

const tooManySecrets = (until: number) =>
  new RefusalError(
    'too_many_secrets',
    `${maxSecrets} secrets of this webhook are in use; the first of them ends at ${new Date(until).toISOString()}. Rotate again after that, or register another webhook.`,
  )

const noWebhook = (id: WebhookId) =>
  new RefusalError('webhook_not_found', `No webhook has the id ${id}.`, { field: 'id' })

const noDelivery = (id: DeliveryId) =>
  new RefusalError('delivery_not_found', `No delivery has the id ${id}.`, { field: 'id' })

const isDisabled = (id: WebhookId) =>
  new RefusalError(
    'webhook_disabled',
    `The receiver has said 410 Gone; POST /webhook/${id}/enable says that it is back.`,
  )
