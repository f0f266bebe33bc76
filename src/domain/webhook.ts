/** The words of webhooks: who is told of the ends of jobs, and how each telling went. */
import * as v from 'valibot'
import type { JobId, Timestamp } from './job.ts'

export const WebhookId = v.pipe(v.string(), v.uuid(), v.toLowerCase(), v.brand('WebhookId'))
export type WebhookId = v.InferOutput<typeof WebhookId>

/** The same over all attempts and replays: receivers know by it what they have had already. */
export const DeliveryId = v.pipe(v.string(), v.regex(/^evt_[0-9a-f]{32}$/), v.brand('DeliveryId'))
export type DeliveryId = v.InferOutput<typeof DeliveryId>

/** What may be subscribed to: ours, and those that users of OpenAI's API expect. */
export const jobEvents = [
  'job.success',
  'job.error',
  'job.canceled',
  'video.completed',
  'video.failed',
] as const
export type JobEvent = (typeof jobEvents)[number]

/** What is told in our own words alone; also the default. */
export const ownEvents = ['job.success', 'job.error', 'job.canceled'] as const satisfies JobEvent[]

/** What is told in OpenAI's alone. */
export const openAiEvents = ['video.completed', 'video.failed'] as const satisfies JobEvent[]

export type WebhookEvent = JobEvent | 'webhook.test'

/** To OpenAI's clients what is canceled has failed. */
export const eventsOfEnd: Record<'success' | 'error' | 'canceled', readonly JobEvent[]> = {
  success: ['job.success', 'video.completed'],
  error: ['job.error', 'video.failed'],
  canceled: ['job.canceled', 'video.failed'],
}

/** `whsec_` and 24 to 64 bytes in base64, as https://www.standardwebhooks.com has it. */
export type WebhookSecret = Readonly<{
  key: string
  /** It has a successor, beside which it signs until then, on the clock of deliveries. */
  until?: number
}>

export type Webhook = Readonly<{
  id: WebhookId
  /** Whose jobs it is told of; null: everybody's. */
  owner: string | null
  /**
   * The client that registered it. Several: one of them did, before this was recorded. None: it was
   * registered while the service had no tokens.
   */
  registeredBy: readonly string[]
  /** It is for the end of this job alone. */
  jobId?: JobId
  url: string
  events: readonly JobEvent[]
  createdAt: Timestamp
  /** When its receiver said that it is gone. */
  disabledAt?: Timestamp
}>

export type DeliveryStatus = 'pending' | 'delivered' | 'failed'

/** One event on its way to one webhook. */
export type Delivery = Readonly<{
  id: DeliveryId
  webhookId: WebhookId
  event: WebhookEvent
  jobId?: JobId
  /** When what it tells of happened. */
  createdAt: Timestamp
  status: DeliveryStatus
  /** Since it was created or replayed. */
  attempts: number
  /** When it is tried again; only while pending. In the store, on the clock of deliveries. */
  nextAt?: Timestamp
  lastAt?: Timestamp
  /** What the receiver answered last, or why there was no answer. */
  lastStatus?: number
  lastError?: string
}>

export const newDeliveryId = (): DeliveryId =>
  `evt_${crypto.randomUUID().replaceAll('-', '')}` as DeliveryId

export const newWebhookId = (): WebhookId => crypto.randomUUID() as WebhookId

export const newSecret = (): string =>
  `whsec_${Buffer.from(crypto.getRandomValues(new Uint8Array(24))).toString('base64')}`

/** Receivers are told apart by where they listen: what one of them does is no reason to spare another. */
export const receiverOf = (url: string): string => new URL(url).origin

/** A webhook to be registered, with the secret that signs its deliveries. */
export type NewWebhook = Omit<Webhook, 'disabledAt'> & Readonly<{ secret: string }>
