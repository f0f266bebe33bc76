import { describe, expect, it, onTestFinished } from 'vitest'
import { type ActorFailedError, ask } from '../../../src/actors/actor.ts'
import type { Now } from '../../../src/actors/webhook/delivery-clock.ts'
import type { KnownClient } from '../../../src/actors/webhook/registrant-rules.ts'
import { maxSecrets, overlapMs } from '../../../src/actors/webhook/secret-rules.ts'
import { webhookBehaviour } from '../../../src/actors/webhook/webhook-actor.ts'
import type { OutgoingWebhook, WebhookStore } from '../../../src/actors/webhook/webhook-ports.ts'
import type { Registered, Rotated } from '../../../src/actors/webhook/webhook-protocol.ts'
import { RefusalError } from '../../../src/domain/errors.ts'
import type { Logger } from '../../../src/domain/log.ts'
import { newDeliveryId, newWebhookId, type WebhookId } from '../../../src/domain/webhook.ts'
import { migrateToLatest } from '../../../src/infra/store/migrate.ts'
import { openDatabase } from '../../../src/infra/store/sqlite/database.ts'
import { createJobStore } from '../../../src/infra/store/sqlite/sqlite-job-store.ts'
import { createWebhookStore } from '../../../src/infra/store/webhook-store.ts'
import { anActor, anybody, midnight } from '../../support/jobs.ts'

describe('WebhookActor', () => {
  it('registers 100 webhooks and refuses 30 when 130 commands arrive at once', async () => {
    const { register, actor } = await webhooks()
    const replies = await Promise.all(Array.from({ length: 130 }, register))
    const refusals = replies.filter((reply) => reply instanceof RefusalError)
    expect(refusals.map(({ code }) => code)).toEqual(Array(30).fill('too_many_webhooks'))
    expect(await ask(actor, { type: 'list', scope: 'everything' })).toHaveLength(100)
  })

  it('signs with every secret until its announced end, and refuses a rotation beyond ten', async () => {
    const { register, rotate, keysOfNextMessage, passes } = await webhooks()
    const { webhook, secret: first } = await register()
    const replies = await Promise.all(Array.from({ length: 20 }, () => rotate(webhook.id)))
    const secrets = replies.flatMap((reply) => (reply instanceof RefusalError ? [] : reply.secret))
    expect(new Set(secrets)).toHaveLength(maxSecrets - 1)
    expect(replies.filter((reply) => reply instanceof RefusalError)).toMatchObject(
      Array(20 - secrets.length).fill({
        code: 'too_many_secrets',
        message: expect.stringContaining(new Date(midnight + overlapMs).toISOString()),
      }),
    )
    expect(await keysOfNextMessage(webhook.id)).toEqual([...secrets.toReversed(), first])
    passes(overlapMs)
    expect(await keysOfNextMessage(webhook.id)).toEqual([secrets.at(-1)])
    expect(await rotate(webhook.id)).toMatchObject({ previousUntil: midnight + 2 * overlapMs })
  })

  it('keeps an old secret for its 24 hours when the wall clock is set forward', async () => {
    const { register, rotate, keysOfNextMessage, steps } = await webhooks()
    const { webhook, secret: first } = await register()
    await rotate(webhook.id)
    steps(9 * overlapMs)
    expect(await keysOfNextMessage(webhook.id)).toContain(first)
  })

  it('shows the next attempt by the wall clock as it is now', async () => {
    const { actor, register, steps, nextSend } = await webhooks(() => ({}), [], 503)
    const { webhook } = await register()
    const { id } = webhook
    const scope = 'everything'
    const page = { limit: 1 }
    await ask(actor, { type: 'test', id, scope })
    const [test] = (await nextSend()).map((message) => message.id)
    await expect
      .poll(async () => ask(actor, { type: 'deliveries', id, scope, page }))
      .toMatchObject({ deliveries: [{ status: 'failed' }] })
    steps(9 * overlapMs)
    const replayed = await ask(actor, { type: 'replay', id: test ?? newDeliveryId(), scope })
    expect(replayed).toMatchObject({ status: 'pending', nextAt: midnight + 9 * overlapMs })
  })

  it('shows why a webhook is withheld, and serves it when an admin enables it', async () => {
    const ops = { name: 'ops', isAdmin: true }
    const { actor, register } = await webhooks(() => ({}), [ops])
    const { webhook } = await register()
    const scope = 'everything'
    const { id } = webhook
    expect(await ask(actor, { type: 'find', id, scope })).toMatchObject({
      registeredBy: [],
      withheld: 'It was registered without a token.',
    })
    expect(await ask(actor, { type: 'list', scope })).toMatchObject([
      { id, withheld: expect.any(String) },
    ])
    const client = { ...anybody, ...ops }
    const enabled = await ask(actor, { type: 'enable', id, client, scope })
    expect(enabled).toMatchObject({ id, registeredBy: ['ops'] })
    expect(enabled).not.toHaveProperty('withheld')
  })

  it('refuses commands for an unknown webhook or delivery', async () => {
    const { actor } = await webhooks()
    const scope = 'everything'
    const id = newWebhookId()
    const page = { limit: 10 }
    for (const reply of [
      await ask(actor, { type: 'find', id, scope }),
      await ask(actor, { type: 'remove', id, scope }),
      await ask(actor, { type: 'rotate', id, scope }),
      await ask(actor, { type: 'enable', id, client: anybody, scope }),
      await ask(actor, { type: 'test', id, scope }),
      await ask(actor, { type: 'deliveries', id, scope, page }),
    ])
      expect(reply).toMatchObject({ code: 'webhook_not_found' })
    const replayed = await ask(actor, { type: 'replay', id: newDeliveryId(), scope })
    expect(replayed).toMatchObject({ code: 'delivery_not_found' })
  })

  it('rejects a command that the store cannot write, and serves the next one', async () => {
    const cause = new Error('disk I/O error')
    const { actor, register } = await webhooks(() => ({ register: () => Promise.reject(cause) }))
    await expect(register()).rejects.toMatchObject({
      name: 'ActorFailedError',
      message: 'webhooks could not be read or written',
      cause,
    } satisfies Partial<ActorFailedError>)
    expect(await ask(actor, { type: 'list', scope: 'everything' })).toEqual([])
  })
})

/** The actor with the real stores, in a database of its own, and with a clock of its own. */
async function webhooks(
  replace: (store: WebhookStore) => Partial<WebhookStore> = () => ({}),
  clients: readonly KnownClient[] = [],
  status = 200,
) {
  const { db, close } = openDatabase(':memory:')
  await migrateToLatest(db)
  onTestFinished(close)
  const store = createWebhookStore(db)
  const sent: OutgoingWebhook[] = []
  let now: Now = { at: midnight, steady: midnight }
  await store.keepClock(now)
  const { ref: actor, stop } = anActor(
    `webhooks-${crypto.randomUUID()}`,
    webhookBehaviour({
      store: { ...store, ...replace(store) },
      jobs: createJobStore(db),
      sender: {
        async send(message) {
          sent.push(message)
          return { how: 'answered', status }
        },
      },
      clock: { now: () => now },
      clients,
      render: () => '{}',
      observe: () => {},
      log: noLog,
    }),
  )
  onTestFinished(stop)

  /** Ids and keys of the messages since the last call. */
  async function nextSend(): Promise<OutgoingWebhook[]> {
    await expect.poll(() => sent).not.toEqual([])
    return sent.splice(0)
  }

  return {
    actor,
    nextSend,
    passes(ms: number): void {
      now = { at: now.at + ms, steady: now.steady + ms }
    },
    steps(ms: number): void {
      now = { ...now, at: now.at + ms }
    },
    register: () =>
      ask(actor, {
        type: 'register',
        client: anybody,
        wish: { url: 'https://example.org/hook', events: ['job.success'] },
      }) as Promise<Registered>,
    rotate: (id: WebhookId) =>
      ask(actor, { type: 'rotate', id, scope: 'everything' }) as Promise<Rotated | RefusalError>,
    async keysOfNextMessage(id: WebhookId) {
      await ask(actor, { type: 'test', id, scope: 'everything' })
      return (await nextSend()).at(-1)?.keys
    },
  }
}

const silent = () => {}
const noLog: Logger = { debug: silent, info: silent, warn: silent, error: silent }
