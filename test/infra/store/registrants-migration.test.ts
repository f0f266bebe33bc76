import { sql } from 'kysely'
import { expect, it, onTestFinished } from 'vitest'
import { newDeliveryId, newWebhookId } from '../../../src/domain/webhook.ts'
import { migrateToLatest } from '../../../src/infra/store/migrate.ts'
import { migrations } from '../../../src/infra/store/migrations/index.ts'
import { openDatabase } from '../../../src/infra/store/sqlite/database.ts'
import { createWebhookStore } from '../../../src/infra/store/webhook-store.ts'
import { everythingDue } from '../../support/store-suites/webhook-outbox.ts'

const day = 24 * 60 * 60_000

/** A database as the version before left it. */
async function anEarlierDatabase() {
  const { db, close } = openDatabase(':memory:')
  onTestFinished(close)
  const known = Object.entries(migrations).filter(([name]) => name < '011')
  await migrateToLatest(db, undefined, Object.fromEntries(known))
  return db
}

it('knows the client of each webhook, and takes the others for those of the present admins', async () => {
  const db = await anEarlierDatabase()
  const [ofAnna, ofAdmin] = [newWebhookId(), newWebhookId()]
  for (const [id, owner] of [
    [ofAnna, 'anna'],
    [ofAdmin, null],
  ])
    await sql`insert into webhook (id, owner, url, events, secrets, created_at)
      values (${id}, ${owner}, 'https://example.org/', '[]', '[]', 1)`.execute(db)
  await migrateToLatest(db)
  const store = createWebhookStore(db)
  await store.attribute(['ops', 'root'])
  await store.attribute(['later'])
  expect(await store.find(ofAnna, 'everything')).toMatchObject({ registeredBy: ['anna'] })
  expect(await store.find(ofAdmin, 'everything')).toMatchObject({ registeredBy: ['ops', 'root'] })
})

it('lets no delivery wait for more than an hour, and gives up none, whatever the clock was', async () => {
  const db = await anEarlierDatabase()
  const webhook = newWebhookId()
  await sql`insert into webhook (id, owner, url, events, secrets, created_at)
    values (${webhook}, 'anna', 'https://example.org/', '[]', '[{"key":"k"}]', 1)`.execute(db)
  const wrong = Date.now() + 2 * day
  await sql`insert into delivery
    (id, webhook_id, receiver, event, created_at, since, status, attempts, next_at)
    values (${newDeliveryId()}, ${webhook}, 'https://example.org', 'job.success',
      ${wrong}, ${wrong}, 'pending', 3, ${wrong})`.execute(db)
  await migrateToLatest(db)
  const store = createWebhookStore(db)
  const { steady } = await store.readClock()
  const { deliveries } = await store.due(steady + day / 24, everythingDue)
  expect(deliveries).toMatchObject([{ webhookId: webhook, attempts: 3 }])
  expect(deliveries[0]?.since).toBeLessThanOrEqual(steady)
})
