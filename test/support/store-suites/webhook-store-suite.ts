/** Contract of a store of webhooks. It knows the ports only, so that every store runs it. */
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Outcome } from '../../../src/actors/queue/queue-ports.ts'
import { patienceMs } from '../../../src/actors/webhook/delivery-rules.ts'
import type { DueDelivery } from '../../../src/actors/webhook/webhook-ports.ts'
import {
  jobEvents,
  type NewWebhook,
  newDeliveryId,
  newSecret,
  newWebhookId,
} from '../../../src/domain/webhook.ts'
import { aFailure, aVideo, jobId, midnight } from '../jobs.ts'
import type { StoreOperation } from './stores.ts'
import { anOutbox, aWebhook, type CreateWebhookStores, everythingDue } from './webhook-outbox.ts'
import { anOutboxWorld, anyOutboxStep } from './webhook-outbox-world.ts'

const success: Outcome = { status: 'success', video: aVideo() }
const error: Outcome = { status: 'error', failure: aFailure() }
const canceled: Outcome = { status: 'canceled' }

const all = { ...everythingDue, maxPerLine: 4 }

export function describeWebhookStore(name: string, create: CreateWebhookStores): void {
  describe(`the store of webhooks on ${name}`, () => {
    let outbox: Awaited<ReturnType<typeof anOutbox>>
    beforeEach(async () => {
      outbox = await anOutbox(create)
    })
    afterEach(() => outbox.close())

    describe('registrations', () => {
      it('stop at the maximum when many clients register at once', async () => {
        const outcomes = await Promise.all(
          Array.from({ length: 130 }, () => outbox.store.register(aWebhook(), 100)),
        )
        expect(outcomes.filter((outcome) => outcome === 'registered')).toHaveLength(100)
        expect(outcomes.filter((outcome) => outcome === 'too_many')).toHaveLength(30)
        expect(await outbox.store.list('everything')).toHaveLength(100)
      })

      it('count towards the maximum of their owner only, without webhooks of single jobs', async () => {
        const register = (owner: string | null) => outbox.store.register(aWebhook({ owner }), 1)
        await outbox.submits(1, { webhook: aWebhook({ jobId: jobId(1) }) })
        expect(await register(null)).toBe('registered')
        expect(await register('anna')).toBe('registered')
        expect(await register('bert')).toBe('registered')
        expect(await register('anna')).toBe('too_many')
        expect(await register(null)).toBe('too_many')
      })

      it('are possible again when a webhook is removed', async () => {
        const first = aWebhook()
        await outbox.store.register(first, 1)
        expect(await outbox.store.register(aWebhook(), 1)).toBe('too_many')
        await outbox.store.remove(first.id, 'everything')
        expect(await outbox.store.register(aWebhook(), 1)).toBe('registered')
      })
    })

    describe('secrets', () => {
      it('include every change when many clients change them at once', async () => {
        const { id, secret } = await outbox.register({})
        const added = Array.from({ length: 20 }, () => newSecret())
        await Promise.all(
          added.map((key) =>
            outbox.store.changeSecrets(id, 'everything', (secrets) => [{ key }, ...secrets]),
          ),
        )
        const keys = (await outbox.secretsOf(id)).map(({ key }) => key)
        expect(keys.toSorted()).toEqual([...added, secret].toSorted())
        expect(keys.at(-1)).toBe(secret)
      })

      it('keep the time until which they sign', async () => {
        const { id, secret } = await outbox.register({})
        const next = newSecret()
        const change = () => [{ key: next }, { key: secret, until: midnight }]
        expect(await outbox.store.changeSecrets(id, 'everything', change)).toMatchObject({
          outcome: 'changed',
          webhook: { id },
        })
        expect(await outbox.secretsOf(id)).toEqual(change())
      })

      it('do not change when the change throws', async () => {
        const { id, secret } = await outbox.register({})
        const change = outbox.store.changeSecrets(id, 'everything', () => {
          throw new Error('a bug')
        })
        await expect(change).rejects.toThrow('a bug')
        expect(await outbox.secretsOf(id)).toEqual([{ key: secret }])
      })
    })

    describe('a webhook outside the scope', () => {
      it('is missing for every command and question, and stays unchanged', async () => {
        const { id, secret } = await outbox.register({ owner: 'anna' })
        await outbox.submits(1, { owner: 'anna' })
        await outbox.finishes(1, success)
        const [delivery] = await outbox.deliveriesOf(id)
        const test = { id: newDeliveryId(), webhookId: id, at: midnight, steady: midnight }
        const { store } = outbox
        for (const scope of [{ owner: 'bert' }, { jobId: jobId(1) }]) {
          const change = () => []
          expect(await store.list(scope)).toEqual([])
          expect(await store.find(id, scope)).toBeUndefined()
          expect(await store.remove(id, scope)).toBeUndefined()
          expect(await store.enable(id, scope, change)).toBeUndefined()
          expect(await store.changeSecrets(id, scope, change)).toEqual({ outcome: 'not_found' })
          expect(await store.deliveries(id, scope, { limit: 10 })).toBeUndefined()
          expect(await store.addTest(test, scope)).toEqual({ outcome: 'not_found' })
          expect(
            await store.replay(delivery?.id as DueDelivery['id'], scope, midnight + 1),
          ).toEqual({
            outcome: 'not_found',
          })
        }
        expect(await outbox.deliveriesOf(id)).toEqual([delivery])
        expect(await outbox.secretsOf(id)).toEqual([{ key: secret }])
      })
    })

    describe('tests and replays', () => {
      it('are pending at once', async () => {
        const { id } = await outbox.register({})
        const test = { id: newDeliveryId(), webhookId: id, at: midnight, steady: midnight }
        const added = await outbox.store.addTest(test, 'everything')
        const [delivery] = await outbox.deliveriesOf(id)
        expect(added).toEqual({ outcome: 'pending', delivery })
        expect(delivery).toMatchObject({ id: test.id, event: 'webhook.test', nextAt: midnight })
        expect(await outbox.store.replay(test.id, 'everything', midnight + 1)).toEqual({
          outcome: 'pending',
          delivery: { ...delivery, nextAt: midnight + 1 },
        })
        expect(await outbox.store.pending()).toEqual({ pending: 1, oldestAt: midnight })
      })

      it('are refused while the webhook is disabled', async () => {
        const { id } = await outbox.register({})
        await outbox.ends(1, success)
        const [due] = (await outbox.store.due(midnight, all)).deliveries
        await outbox.settles(due, { become: 'failed', gone: true })
        const test = { id: newDeliveryId(), webhookId: id, at: midnight, steady: midnight }
        const disabled = { outcome: 'disabled', webhookId: id }
        expect(await outbox.store.addTest(test, 'everything')).toEqual(disabled)
        expect(
          await outbox.store.replay(due?.id as DueDelivery['id'], 'everything', midnight),
        ).toEqual(disabled)
        expect(await outbox.store.pending()).toEqual({ pending: 0 })
        const enabled = await outbox.store.enable(id, 'everything', () => ['ops'])
        expect(enabled).toEqual(await outbox.store.find(id, 'everything'))
        expect(enabled).not.toHaveProperty('disabledAt')
        expect(enabled).toMatchObject({ registeredBy: ['ops'] })
        expect(await outbox.store.addTest(test, 'everything')).toMatchObject({ outcome: 'pending' })
      })

      it('are missing when the id is unknown', async () => {
        const missing = { outcome: 'not_found' }
        const test = {
          id: newDeliveryId(),
          webhookId: newWebhookId(),
          at: midnight,
          steady: midnight,
        }
        expect(await outbox.store.addTest(test, 'everything')).toEqual(missing)
        expect(await outbox.store.replay(test.id, 'everything', midnight)).toEqual(missing)
      })
    })

    describe('deliveries', () => {
      it('are listed latest first, a page at a time', async () => {
        const { id } = await outbox.register({})
        for (const n of [1, 2, 3]) await outbox.ends(n, success)
        const page = (after?: DueDelivery['id']) =>
          outbox.store.deliveries(id, 'everything', { limit: 2, ...(after && { after }) })
        const first = await page()
        expect(first).toMatchObject({
          deliveries: [{ jobId: jobId(3) }, { jobId: jobId(2) }],
          hasMore: true,
        })
        expect(await page(first?.deliveries.at(-1)?.id)).toMatchObject({
          deliveries: [{ jobId: jobId(1) }],
          hasMore: false,
        })
        expect(await page(newDeliveryId())).toEqual({ deliveries: [], hasMore: false })
      })
    })

    describe('the end of a job', () => {
      it.each<[Outcome, string[]]>([
        [success, ['job.success', 'video.completed']],
        [error, ['job.error', 'video.failed']],
        [canceled, ['job.canceled', 'video.failed']],
      ])('is written down, as %o, for whoever wants to know', async (outcome, events) => {
        const webhook = await outbox.register({ events: [...jobEvents] })
        await outbox.register({ events: ['job.canceled'] })
        await outbox.ends(1, outcome)
        const deliveries = await outbox.deliveriesOf(webhook.id)
        expect(deliveries.toReversed()).toMatchObject(
          events.map((event) => ({ event, jobId: jobId(1), status: 'pending', attempts: 0 })),
        )
      })

      it('is written down with it or not at all', async () => {
        const webhook = await outbox.register({})
        await outbox.ends(1, success)
        await outbox.submits(2)
        const tooLate = { op: 'finish', jobId: jobId(1), epoch: 0, outcome: success, at: midnight }
        const good = { op: 'finish', jobId: jobId(2), epoch: 0, outcome: canceled, at: midnight }
        const both = [good, tooLate] as StoreOperation[]
        expect(await outbox.jobs.commit(both)).toMatchObject({ how: 'stale' })
        const deliveries = await outbox.deliveriesOf(webhook.id)
        expect(deliveries).toMatchObject([{ jobId: jobId(1) }])
      })

      it('is told to the owner of the job, to admins, and to whom the job says, and to nobody else', async () => {
        const [ofAnna, ofBert, ofAdmin] = [
          await outbox.register({ owner: 'anna' }),
          await outbox.register({ owner: 'bert' }),
          await outbox.register({ owner: null }),
        ]
        const ofJob: NewWebhook = aWebhook({ owner: 'anna', jobId: jobId(1) })
        await outbox.submits(1, { owner: 'anna', webhook: ofJob })
        await outbox.submits(2, { owner: 'anna' })
        await outbox.finishes(1, success)
        await outbox.finishes(2, success)
        const told = async ({ id }: { id: NewWebhook['id'] }) =>
          (await outbox.deliveriesOf(id)).map((one) => one.jobId)
        expect(await told(ofAnna)).toEqual([jobId(2), jobId(1)])
        expect(await told(ofBert)).toEqual([])
        expect(await told(ofAdmin)).toEqual([jobId(2), jobId(1)])
        expect(await told(ofJob)).toEqual([jobId(1)])
        expect(await outbox.store.list('everything')).toHaveLength(3)
        expect(await outbox.store.list({ owner: 'anna' })).toMatchObject([{ id: ofAnna.id }])
        expect(await outbox.store.find(ofBert.id, { owner: 'anna' })).toBeUndefined()
      })
    })

    describe('what is due', () => {
      it('is of each job and webhook the oldest, until that is settled', async () => {
        await outbox.register({ events: ['job.success', 'video.completed'] })
        await outbox.ends(1, success)
        const [first] = (await outbox.store.due(midnight, all)).deliveries
        expect(first).toMatchObject({ event: 'job.success' })
        expect((await outbox.store.due(midnight, all)).deliveries).toHaveLength(1)
        await outbox.settles(first, { become: 'pending', nextAt: midnight + 5_000 })
        expect(await outbox.store.due(midnight, all)).toEqual({
          deliveries: [],
          nextAt: midnight + 5_000,
        })
        await outbox.settles(first, { become: 'failed', gone: false })
        expect((await outbox.store.due(midnight, all)).deliveries).toMatchObject([
          { event: 'video.completed' },
        ])
      })

      it('lets the later events of a job wait as long as the first', async () => {
        const { id } = await outbox.register({ events: ['job.success', 'video.completed'] })
        await outbox.ends(1, success)
        const [first] = (await outbox.store.due(midnight, all)).deliveries
        await outbox.settles(first, { become: 'pending', nextAt: midnight + 5_000 })
        expect(await outbox.deliveriesOf(id)).toMatchObject([
          { event: 'video.completed', nextAt: midnight + 5_000 },
          { event: 'job.success', nextAt: midnight + 5_000 },
        ])
        await outbox.settles(first, { become: 'delivered' })
        expect(await outbox.deliveriesOf(id)).toMatchObject([
          { event: 'video.completed', nextAt: midnight },
          { event: 'job.success', status: 'delivered' },
        ])
      })

      it('is so many for each receiver, however many wait for one', async () => {
        await outbox.register({ url: 'https://busy.example/a' })
        await outbox.register({ url: 'https://busy.example/b' })
        await outbox.register({ url: 'https://idle.example/' })
        for (const n of [1, 2, 3, 4, 5]) await outbox.ends(n, success)
        const receivers = async (maxPerLine: number) =>
          (await outbox.store.due(midnight, { ...everythingDue, maxPerLine })).deliveries
            .map(({ receiver }) => receiver)
            .toSorted()
        expect(await receivers(2)).toEqual([
          ...Array(2).fill('https://busy.example'),
          ...Array(2).fill('https://idle.example'),
        ])
        expect(await receivers(100)).toHaveLength(15)
        const { deliveries } = await outbox.store.due(midnight, everythingDue)
        const busy = deliveries.filter(({ receiver }) => receiver === 'https://busy.example')
        const notTo = busy.map(({ line }) => line)
        const rest = await outbox.store.due(midnight, { ...everythingDue, notTo })
        expect(rest.deliveries).toHaveLength(5)
      })

      it('is so many for each client, in turns, however many wait for one', async () => {
        const busy = { owner: null, registeredBy: ['anna'] }
        for (const n of [1, 2, 3]) await outbox.register({ ...busy, url: `https://${n}.example/` })
        await outbox.register({ registeredBy: ['bert'], url: 'https://bert.example/' })
        for (const n of [1, 2, 3]) await outbox.ends(n, success, midnight + n)
        const partiesOf = async (maxPerParty: number) =>
          (await outbox.store.due(midnight, { ...everythingDue, maxPerParty })).deliveries.map(
            ({ registeredBy }) => registeredBy.join(),
          )
        expect(await partiesOf(2)).toEqual(expect.arrayContaining(['anna', 'anna', 'bert', 'bert']))
        expect(await partiesOf(2)).toHaveLength(4)
        expect((await partiesOf(9)).slice(0, 6).toSorted()).toEqual([
          ...['anna', 'anna', 'anna'],
          ...['bert', 'bert', 'bert'],
        ])
      })

      it('is so much of each lane, however much waits in the others', async () => {
        for (const n of [1, 2, 3]) await outbox.register({ url: `https://bad${n}.example/` })
        await outbox.register({ url: 'https://good.example/' })
        await outbox.ends(1, success)
        const { deliveries } = await outbox.store.due(midnight, everythingDue)
        const good = deliveries.find(({ receiver }) => receiver === 'https://good.example')
        const lanes = [[good?.line ?? ''], []]
        const filter = { ...everythingDue, lanes, maxPerParty: 1 }
        const found = (await outbox.store.due(midnight, filter)).deliveries
        expect(found).toHaveLength(2)
        expect(found.map(({ receiver }) => receiver)).toContain('https://good.example')
      })

      it('leaves out more lines than a statement has parameters', async () => {
        await outbox.register({})
        await outbox.ends(1, success)
        const notTo = Array.from({ length: 40_000 }, (_, n) => ` https://${n}.example`)
        const { deliveries } = await outbox.store.due(midnight, { ...everythingDue, notTo })
        expect(deliveries).toHaveLength(1)
      })

      it('is scheduled by the clock of deliveries, whatever the time of the job’s end was', async () => {
        await outbox.register({})
        const inTenDays = midnight + 10 * 24 * 60 * 60_000
        await outbox.ends(1, success, inTenDays)
        expect((await outbox.store.due(midnight, all)).deliveries).toMatchObject([
          { createdAt: inTenDays, since: midnight },
        ])
      })

      it('is nothing of a webhook that is gone or deleted', async () => {
        const gone = await outbox.register({})
        const deleted = await outbox.register({})
        for (const n of [1, 2]) await outbox.ends(n, success)
        const { deliveries } = await outbox.store.due(midnight, all)
        const ofGone = deliveries.find(({ webhookId }) => webhookId === gone.id)
        await outbox.settles(ofGone, { become: 'failed', gone: true })
        await outbox.store.remove(deleted.id, 'everything')
        await outbox.ends(3, success)
        expect((await outbox.store.due(midnight, all)).deliveries).toEqual([])
        expect(await outbox.store.find(gone.id, 'everything')).toMatchObject({
          disabledAt: midnight,
        })
      })

      it('is again what is replayed, with new patience', async () => {
        const { id } = await outbox.register({})
        await outbox.ends(1, success)
        const [one] = (await outbox.store.due(midnight, all)).deliveries
        await outbox.settles(one, { become: 'failed', gone: false })
        const later = midnight + 2 * patienceMs
        await outbox.store.replay(one?.id as DueDelivery['id'], 'everything', later)
        expect((await outbox.store.due(later, all)).deliveries).toMatchObject([
          { id: one?.id, webhookId: id, since: later, attempts: 0, createdAt: midnight },
        ])
      })
    })

    it('knows the lines of which a delivery is to be repeated', async () => {
      await outbox.register({ url: 'https://fails.example/', registeredBy: ['anna'] })
      await outbox.register({ url: 'https://waits.example/' })
      await outbox.ends(1, success)
      const { deliveries } = await outbox.store.due(midnight, everythingDue)
      const failed = deliveries.find(({ receiver }) => receiver === 'https://fails.example')
      await outbox.settles(failed, { become: 'pending', nextAt: midnight + 1 })
      expect(await outbox.store.failingLines()).toEqual([failed?.line])
    })

    it('keeps the latest time of the clock of deliveries', async () => {
      const later = { at: midnight - 5_000, steady: midnight + 70_000 }
      await outbox.store.keepClock(later)
      expect(await outbox.store.readClock()).toEqual(later)
    })

    it('keeps the client that registered a webhook, and attributes none that is known', async () => {
      const { id } = await outbox.register({ registeredBy: ['anna'] })
      const { id: anonymous } = await outbox.register({ registeredBy: [] })
      await outbox.store.attribute(['ops', 'root'])
      expect(await outbox.store.find(id, 'everything')).toMatchObject({ registeredBy: ['anna'] })
      expect(await outbox.store.find(anonymous, 'everything')).toMatchObject({ registeredBy: [] })
    })

    it('forgets what was settled long ago, and webhooks of jobs that have nothing left to tell', async () => {
      const webhook = await outbox.register({})
      const ofJob = aWebhook({ jobId: jobId(1) })
      await outbox.submits(1, { webhook: ofJob })
      await outbox.finishes(1, success)
      await outbox.ends(2, success)
      const { deliveries } = await outbox.store.due(midnight, everythingDue)
      for (const one of deliveries.filter((each) => each.jobId === jobId(1)))
        await outbox.settles(one, { become: 'delivered' })
      await outbox.store.tidy(midnight + 1)
      expect(await outbox.store.find(ofJob.id, 'everything')).toBeUndefined()
      expect(await outbox.deliveriesOf(webhook.id)).toMatchObject([
        { jobId: jobId(2), status: 'pending' },
      ])
    })

    describe('whatever fails meanwhile', () => {
      it('everything arrives in order per job, and never too much at once', async () => {
        await fc.assert(
          fc.asyncProperty(fc.array(anyOutboxStep, { maxLength: 40 }), async (steps) => {
            const outbox = await anOutbox(create)
            const world = await anOutboxWorld(outbox)
            for (const step of steps) await world.does(step)
            await world.recovers()
            world.checkArrivals()
            await outbox.close()
          }),
          { numRuns: 60 },
        )
      }, 120_000)
    })
  })
}
