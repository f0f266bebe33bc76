import { Hono } from 'hono'
import { type ActorRef, ask } from '../actors/actor.ts'
import type { WebhookMessage } from '../actors/webhook/webhook-protocol.ts'
import type { ClientEnv } from './access.ts'
import { orThrow, parse, readJson, readJsonIfAny } from './edge.ts'
import {
  DeliveriesQuery,
  DeliveryParam,
  RotateBody,
  WebhookParam,
  type webhookSchema,
} from './schemas.ts'
import { deliveryJson, registeredJson, rotatedJson, webhookJson } from './webhook-view.ts'

export type WebhookRoutesOptions = Readonly<{
  webhooks: ActorRef<WebhookMessage>
  wish: ReturnType<typeof webhookSchema>
}>

/** Who is told of the ends of jobs, and how each telling went. */
export const webhookRoutes = ({ webhooks, wish: schema }: WebhookRoutesOptions) =>
  new Hono<ClientEnv>()
    .post('/webhook', async (c) => {
      const wish = parse(schema, await readJson(c))
      const { client } = c.var
      const registered = orThrow(await ask(webhooks, { type: 'register', wish, client }))
      const { id } = registered.webhook
      return c.json(registeredJson(registered), 201, { Location: `/webhook/${id}` })
    })

    .get('/webhook', async (c) => {
      const list = await ask(webhooks, { type: 'list', scope: c.var.scope })
      return c.json({ webhooks: list.map(webhookJson) })
    })

    .get('/webhook/:id', async (c) => {
      const id = parse(WebhookParam, c.req.param('id'))
      const { scope } = c.var
      return c.json(webhookJson(orThrow(await ask(webhooks, { type: 'find', id, scope }))))
    })

    .delete('/webhook/:id', async (c) => {
      const id = parse(WebhookParam, c.req.param('id'))
      const { scope } = c.var
      const { id: deleted } = orThrow(await ask(webhooks, { type: 'remove', id, scope }))
      return c.json({ deleted })
    })

    .post('/webhook/:id/rotate', async (c) => {
      const id = parse(WebhookParam, c.req.param('id'))
      const { secret } = parse(RotateBody, await readJsonIfAny(c))
      const { scope } = c.var
      const rotated = orThrow(
        await ask(webhooks, { type: 'rotate', id, scope, ...(secret && { secret }) }),
      )
      return c.json(rotatedJson(rotated))
    })

    .post('/webhook/:id/enable', async (c) => {
      const id = parse(WebhookParam, c.req.param('id'))
      const { scope } = c.var
      return c.json(webhookJson(orThrow(await ask(webhooks, { type: 'enable', id, scope }))))
    })

    .post('/webhook/:id/test', async (c) => {
      const id = parse(WebhookParam, c.req.param('id'))
      const { scope } = c.var
      const delivery = orThrow(await ask(webhooks, { type: 'test', id, scope }))
      return c.json(deliveryJson(delivery), 202, { Location: `/webhook/${id}/deliveries` })
    })

    .get('/webhook/:id/deliveries', async (c) => {
      const id = parse(WebhookParam, c.req.param('id'))
      const { limit, after } = parse(DeliveriesQuery, c.req.query())
      const { scope } = c.var
      const page = { limit, ...(after && { after }) }
      const { deliveries, hasMore } = orThrow(
        await ask(webhooks, { type: 'deliveries', id, page, scope }),
      )
      return c.json({
        deliveries: deliveries.map(deliveryJson),
        has_more: hasMore,
        next_after: deliveries.at(-1)?.id ?? null,
      })
    })

    .post('/webhook/deliveries/:id/replay', async (c) => {
      const id = parse(DeliveryParam, c.req.param('id'))
      const { scope } = c.var
      const delivery = orThrow(await ask(webhooks, { type: 'replay', id, scope }))
      return c.json(deliveryJson(delivery), 202)
    })
