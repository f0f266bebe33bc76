import { describe, expect, it, onTestFinished } from 'vitest'
import { type ActorFailedError, ask } from '../../../src/actors/actor.ts'
import { overlapMs } from '../../../src/actors/webhook/secret-rules.ts'
import { webhookBehaviour } from '../../../src/actors/webhook/webhook-actor.ts'
import type { ChangeSecrets, WebhookStore } from '../../../src/actors/webhook/webhook-ports.ts'
import type { Registered, Rotated } from '../../../src/actors/webhook/webhook-protocol.ts'
import { RefusalError } from '../../../src/domain/errors.ts'
import type { Logger } from '../../../src/domain/log.ts'
import {
  newDeliveryId,
  newWebhookId,
  type WebhookId,
  type WebhookSecret,
} from '../../../src/domain/webhook.ts'
import { openDatabase } from '../../../src/infra/store/database.ts'
import { createJobStore } from '../../../src/infra/store/job-store.ts'
import { migrateToLatest } from '../../../src/infra/store/migrate.ts'
import { createWebhookStore } from '../../../src/infra/store/webhook-store.ts'
import { anActor, anybody } from '../../support/jobs.ts'

describe('WebhookActor', () => {
  it('registers 100 webhooks and refuses 30 when 130 commands arrive at once', async () => {
    const { register, actor } = await webhooks()
    const replies = await Promise.all(Array.from({ length: 130 }, register))
    const refusals = replies.filter((reply) => reply instanceof RefusalError)
    expect(refusals.map(({ code }) => code)).toEqual(Array(30).fill('too_many_webhooks'))
    expect(await ask(actor, { type: 'list', scope: 'everything' })).toHaveLength(100)
  })

  it('signs with the last two secrets when 20 rotations arrive at once', async () => {
    const { register, rotate, keysOfNextMessage } = await webhooks()
    const { id } = (await register()).webhook
    const replies: Rotated[] = []
    await Promise.all(Array.from({ length: 20 }, async () => replies.push(await rotate(id))))
    const secrets = replies.map(({ secret }) => secret)
    expect(new Set(secrets)).toHaveLength(20)
    expect(await keysOfNextMessage(id)).toEqual([secrets[19], secrets[18]])
  })

  it('makes the secret of every rotation the current one, and the one before it the previous one', async () => {
    const changes: (readonly WebhookSecret[])[] = []
    const recorded = (change: ChangeSecrets) => (before: readonly WebhookSecret[]) => {
      const after = change(before)
      changes.push(after)
      return after
    }
    const { register, rotate } = await webhooks((store) => ({
      changeSecrets: (id, scope, change) => store.changeSecrets(id, scope, recorded(change)),
    }))
    const { webhook, secret } = await register()
    const replies: Rotated[] = []
    const startedAt = Date.now()
    await Promise.all(
      Array.from({ length: 20 }, async () => replies.push(await rotate(webhook.id))),
    )
    expect(changes).toEqual(
      replies.map((reply, index) => [
        { key: reply.secret },
        { key: replies[index - 1]?.secret ?? secret, until: reply.previousUntil },
      ]),
    )
    for (const { previousUntil } of replies)
      expect(previousUntil).toBeGreaterThanOrEqual(startedAt + overlapMs)
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
      await ask(actor, { type: 'enable', id, scope }),
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

/** The actor with the real stores, in a database of its own. */
async function webhooks(replace: (store: WebhookStore) => Partial<WebhookStore> = () => ({})) {
  const { db, close } = openDatabase(':memory:')
  await migrateToLatest(db)
  onTestFinished(close)
  const store = createWebhookStore(db)
  const sent: (readonly string[])[] = []
  const { ref: actor, stop } = anActor(
    `webhooks-${crypto.randomUUID()}`,
    webhookBehaviour({
      store: { ...store, ...replace(store) },
      jobs: createJobStore(db),
      sender: {
        async send({ keys }) {
          sent.push(keys)
          return { how: 'answered', status: 200 }
        },
      },
      render: () => '{}',
      observe: () => {},
      log: noLog,
    }),
  )
  onTestFinished(stop)

  return {
    actor,
    register: () =>
      ask(actor, {
        type: 'register',
        client: anybody,
        wish: { url: 'https://example.org/hook', events: ['job.success'] },
      }) as Promise<Registered>,
    rotate: (id: WebhookId) =>
      ask(actor, { type: 'rotate', id, scope: 'everything' }) as Promise<Rotated>,
    async keysOfNextMessage(id: WebhookId) {
      await ask(actor, { type: 'test', id, scope: 'everything' })
      await expect.poll(() => sent).not.toEqual([])
      return sent.at(-1)
    },
  }
}

const silent = () => {}
const noLog: Logger = { debug: silent, info: silent, warn: silent, error: silent }
