/** Commands and questions of the WebhookActor: a call of the store each, and a typed reply. */
import { type Client, causeOf } from '../../domain/client.ts'
import { RefusalError } from '../../domain/errors.ts'
import type { Timestamp } from '../../domain/job.ts'
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
import { overlapMs, rotated } from './secret-rules.ts'
import type { DeliveryPage, WebhookStore } from './webhook-ports.ts'
import type {
  Registered,
  Rotated,
  WebhookCommand,
  WebhookMessage,
  WebhookQuestion,
} from './webhook-protocol.ts'

export type WebhookRequestsOptions = Readonly<{ store: WebhookStore; log: Logger }>

/** More are a mistake, and each costs a message per job. */
const maxWebhooks = 100

export function createWebhookRequests({ store, log }: WebhookRequestsOptions) {
  return { execute, query }

  function execute(command: WebhookCommand, at: Timestamp, self: ActorRef<WebhookMessage>): void {
    switch (command.type) {
      case 'register':
        pipeAnswer(command.replyTo, register(command, at), why)
        break
      case 'remove':
        pipeAnswer(command.replyTo, remove(command), why)
        break
      case 'rotate':
        pipeAnswer(command.replyTo, rotate(command, at), why)
        break
      case 'enable':
        pipeAnswer(command.replyTo, enable(command), why)
        break
      case 'test': {
        const queued = addTest(command, at)
        pipeAnswer(command.replyTo, queued, why)
        lookAfter(queued, self)
        break
      }
      case 'replay': {
        const queued = replay(command, at)
        pipeAnswer(command.replyTo, queued, why)
        lookAfter(queued, self)
        break
      }
      default:
        command satisfies never
    }
  }

  function query(question: WebhookQuestion): void {
    switch (question.type) {
      case 'list':
        pipeAnswer(question.replyTo, store.list(question.scope), why)
        break
      case 'find':
        pipeAnswer(question.replyTo, find(question), why)
        break
      case 'deliveries':
        pipeAnswer(question.replyTo, deliveries(question), why)
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
    at: Timestamp,
  ): Promise<Registered | RefusalError> {
    const { client, wish } = command
    const { url, events, secret = newSecret() } = wish
    const webhook: Webhook = {
      id: newWebhookId(),
      owner: ownerOf(client),
      url,
      events,
      createdAt: at,
    }
    if ((await store.register({ ...webhook, secret }, maxWebhooks)) === 'too_many') return tooMany()
    logChange(command, webhook.id)
    return { webhook, secret }
  }

  async function remove(command: Command<'remove'>): Promise<Webhook | RefusalError> {
    const webhook = await store.remove(command.id, command.scope)
    if (!webhook) return noWebhook(command.id)
    logChange(command, webhook.id)
    return webhook
  }

  async function rotate(
    command: Command<'rotate'>,
    at: Timestamp,
  ): Promise<Rotated | RefusalError> {
    const { id, scope, secret = newSecret() } = command
    const webhook = await store.changeSecrets(id, scope, (secrets) => rotated(secrets, secret, at))
    if (!webhook) return noWebhook(id)
    logChange(command, webhook.id)
    return { webhook, secret, previousUntil: at + overlapMs }
  }

  async function enable(command: Command<'enable'>): Promise<Webhook | RefusalError> {
    const webhook = await store.enable(command.id, command.scope)
    if (!webhook) return noWebhook(command.id)
    logChange(command, webhook.id)
    return webhook
  }

  async function addTest(
    command: Command<'test'>,
    at: Timestamp,
  ): Promise<Delivery | RefusalError> {
    const test = { id: newDeliveryId(), webhookId: command.id, at }
    const queued = await store.addTest(test, command.scope)
    if (queued.outcome === 'not_found') return noWebhook(command.id)
    if (queued.outcome === 'disabled') return isDisabled(queued.webhookId)
    logChange(command, queued.delivery.webhookId, queued.delivery.id)
    return queued.delivery
  }

  async function replay(
    command: Command<'replay'>,
    at: Timestamp,
  ): Promise<Delivery | RefusalError> {
    const queued = await store.replay(command.id, command.scope, at)
    if (queued.outcome === 'not_found') return noDelivery(command.id)
    if (queued.outcome === 'disabled') return isDisabled(queued.webhookId)
    logChange(command, queued.delivery.webhookId, queued.delivery.id)
    return queued.delivery
  }

  async function find({ id, scope }: Question<'find'>): Promise<Webhook | RefusalError> {
    return (await store.find(id, scope)) ?? noWebhook(id)
  }

  async function deliveries({
    id,
    scope,
    page,
  }: Question<'deliveries'>): Promise<DeliveryPage | RefusalError> {
    return (await store.deliveries(id, scope, page)) ?? noWebhook(id)
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

/** The actor sends a queued delivery at once. */
function lookAfter(queued: Promise<Delivery | RefusalError>, self: ActorRef<WebhookMessage>): void {
  pipe(
    self,
    queued,
    (reply) => (reply instanceof RefusalError ? undefined : { type: 'deliveriesAdded' }),
    () => undefined,
  )
}

const ownerOf = (client: Client): string | null => (client.isAdmin ? null : client.name)

const tooMany = () =>
  new RefusalError(
    'too_many_webhooks',
    `There are ${maxWebhooks} webhooks already; delete one first.`,
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
