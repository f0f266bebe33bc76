import { Hono } from 'hono'
import * as v from 'valibot'
import { type ActorRef, ask } from '../../actors/actor.ts'
import type { WebhookMessage } from '../../actors/webhook/webhook-protocol.ts'
import { RotateBody, type webhookSchema } from '../request/bodies.ts'
import type { ClientEnv } from '../request/client-env.ts'
import { DeliveriesQuery, DeliveryParam, WebhookParam } from '../request/parameters.ts'
import { route } from '../request/route.ts'
import { orThrow } from '../response/outcome.ts'
import {
  DeliveryJson,
  deliveryJson,
  RegisteredJson,
  RotatedJson,
  registeredJson,
  rotatedJson,
  WebhookJson,
  webhookJson,
} from '../views/webhook-view.ts'
import { Uuid } from '../views/words.ts'

export type WebhookRoutesOptions = Readonly<{
  webhooks: ActorRef<WebhookMessage>
  wish: ReturnType<typeof webhookSchema>
}>

const WebhooksJson = v.object({ webhooks: v.array(WebhookJson) })

const DeliveriesJson = v.object({
  deliveries: v.array(DeliveryJson),
  has_more: v.boolean(),
  next_after: v.nullable(v.string()),
})
type DeliveriesJson = v.InferOutput<typeof DeliveriesJson>

const ofOneWebhook = {
  tag: 'webhooks',
  params: v.object({ id: WebhookParam }),
  refusals: ['webhook_not_found'],
} as const

/** Who is told of the ends of jobs, and how each telling went. */
export const webhookRoutes = ({ webhooks, wish: schema }: WebhookRoutesOptions) =>
  new Hono<ClientEnv>()
    .post(
      '/webhook',
      route({
        tag: 'webhooks',
        id: 'registerWebhook',
        access: 'client',
        summary: 'Be told of the ends of jobs',
        json: schema,
        answers: {
          201: { means: 'Registered', json: RegisteredJson, headers: { Location: 'the webhook' } },
        },
        refusals: ['too_many_webhooks'],
      }),
      async (c) => {
        const wish = c.req.valid('json')
        const { client, requestId } = c.var
        const command = { type: 'register', wish, client, requestId } as const
        const registered = orThrow(await ask(webhooks, command))
        const { id } = registered.webhook
        return c.json(registeredJson(registered), 201, { Location: `/webhook/${id}` })
      },
    )

    .get(
      '/webhook',
      route({
        tag: 'webhooks',
        id: 'listWebhooks',
        access: 'client',
        summary: 'Those that there are',
        answers: { 200: { means: 'All', json: WebhooksJson } },
      }),
      async (c) => {
        const list = await ask(webhooks, { type: 'list', scope: c.var.scope })
        return c.json({ webhooks: list.map(webhookJson) }, 200)
      },
    )

    .get(
      '/webhook/:id',
      route({
        ...ofOneWebhook,
        id: 'getWebhook',
        access: 'client',
        summary: 'A webhook',
        answers: { 200: { means: 'The webhook', json: WebhookJson } },
      }),
      async (c) => {
        const { id } = c.req.valid('param')
        const { scope } = c.var
        return c.json(webhookJson(orThrow(await ask(webhooks, { type: 'find', id, scope }))), 200)
      },
    )

    .delete(
      '/webhook/:id',
      route({
        ...ofOneWebhook,
        id: 'deleteWebhook',
        access: 'client',
        summary: 'Be told no more',
        answers: { 200: { means: 'It is gone', json: v.object({ deleted: Uuid }) } },
      }),
      async (c) => {
        const { id } = c.req.valid('param')
        const { scope, requestId } = c.var
        const { id: deleted } = orThrow(
          await ask(webhooks, { type: 'remove', id, scope, requestId }),
        )
        return c.json({ deleted }, 200)
      },
    )

    .post(
      '/webhook/:id/rotate',
      route({
        ...ofOneWebhook,
        id: 'rotateWebhook',
        access: 'client',
        summary: 'Take another secret, and keep the last for a while',
        json: v.optional(RotateBody, {}),
        answers: { 200: { means: 'The secret', json: RotatedJson } },
        refusals: ['webhook_not_found', 'too_many_secrets'],
      }),
      async (c) => {
        const { id } = c.req.valid('param')
        const { secret } = c.req.valid('json')
        const { scope, requestId } = c.var
        const rotated = orThrow(
          await ask(webhooks, { type: 'rotate', id, scope, requestId, ...(secret && { secret }) }),
        )
        return c.json(rotatedJson(rotated), 200)
      },
    )

    .post(
      '/webhook/:id/enable',
      route({
        ...ofOneWebhook,
        id: 'enableWebhook',
        access: 'client',
        summary: 'Resume a disabled or withheld webhook',
        details:
          'A webhook whose receiver has returned 410 gets deliveries again. A withheld webhook becomes that of the caller.',
        answers: { 200: { means: 'The webhook', json: WebhookJson } },
      }),
      async (c) => {
        const { id } = c.req.valid('param')
        const { client, scope, requestId } = c.var
        const enabled = await ask(webhooks, { type: 'enable', id, client, scope, requestId })
        return c.json(webhookJson(orThrow(enabled)), 200)
      },
    )

    .post(
      '/webhook/:id/test',
      route({
        ...ofOneWebhook,
        id: 'testWebhook',
        access: 'client',
        summary: 'Send an event that tells of nothing',
        answers: {
          202: {
            means: 'Its delivery',
            json: DeliveryJson,
            headers: { Location: 'the deliveries' },
          },
        },
        refusals: ['webhook_not_found', 'webhook_disabled'],
      }),
      async (c) => {
        const { id } = c.req.valid('param')
        const { scope, requestId } = c.var
        const delivery = orThrow(await ask(webhooks, { type: 'test', id, scope, requestId }))
        return c.json(deliveryJson(delivery), 202, { Location: `/webhook/${id}/deliveries` })
      },
    )

    .get(
      '/webhook/:id/deliveries',
      route({
        ...ofOneWebhook,
        id: 'listDeliveries',
        access: 'client',
        summary: 'What was delivered, a page at a time',
        query: DeliveriesQuery,
        answers: { 200: { means: 'A page', json: DeliveriesJson } },
      }),
      async (c) => {
        const { id } = c.req.valid('param')
        const { limit, after } = c.req.valid('query')
        const { scope } = c.var
        const page = { limit, ...(after && { after }) }
        const { deliveries, hasMore } = orThrow(
          await ask(webhooks, { type: 'deliveries', id, page, scope }),
        )
        const answer: DeliveriesJson = {
          deliveries: deliveries.map(deliveryJson),
          has_more: hasMore,
          next_after: deliveries.at(-1)?.id ?? null,
        }
        return c.json(answer, 200)
      },
    )

    .post(
      '/webhook/deliveries/:id/replay',
      route({
        tag: 'webhooks',
        id: 'replayDelivery',
        access: 'client',
        summary: 'Deliver once more',
        params: v.object({ id: DeliveryParam }),
        answers: { 202: { means: 'The delivery', json: DeliveryJson } },
        refusals: ['delivery_not_found', 'webhook_disabled'],
      }),
      async (c) => {
        const { id } = c.req.valid('param')
        const { scope, requestId } = c.var
        const delivery = orThrow(await ask(webhooks, { type: 'replay', id, scope, requestId }))
        return c.json(deliveryJson(delivery), 202)
      },
    )
