import fc from 'fast-check'
import { beforeEach, describe, expect, it } from 'vitest'
import type { Outcome, StoreOperation } from '../../../src/actors/queue/queue-ports.ts'
import { patienceMs } from '../../../src/actors/webhook/delivery-rules.ts'
import type {
  AttemptResult,
  DueDelivery,
  Verdict,
} from '../../../src/actors/webhook/webhook-ports.ts'
import type { WebhookEffect, WebhookNews } from '../../../src/actors/webhook/webhook-protocol.ts'
import { initialWebhookState, transition } from '../../../src/actors/webhook/webhook-transition.ts'
import type { NewWebhook } from '../../../src/domain/webhook.ts'
import { jobEvents, newSecret, newWebhookId, ownEvents } from '../../../src/domain/webhook.ts'
import { openDatabase } from '../../../src/infra/store/database.ts'
import { createJobStore } from '../../../src/infra/store/job-store.ts'
import { migrateToLatest } from '../../../src/infra/store/migrate.ts'
import { createWebhookStore } from '../../../src/infra/store/webhook-store.ts'
import { aFailure, aRequest, aVideo, gpu0, jobId, midnight } from '../../support/jobs.ts'

let outbox: Awaited<ReturnType<typeof anOutbox>>
beforeEach(async () => {
  outbox = await anOutbox()
})

const success: Outcome = { status: 'success', video: aVideo() }
const error: Outcome = { status: 'error', failure: aFailure() }
const canceled: Outcome = { status: 'canceled' }

describe('the end of a job', () => {
  it.each<[Outcome, string[]]>([
    [success, ['job.success', 'video.completed']],
    [error, ['job.error', 'video.failed']],
    [canceled, ['job.canceled', 'video.failed']],
  ])('is written down, as %o, for whoever wants to know', async (outcome, events) => {
    const webhook = await outbox.register({ events: [...jobEvents] })
    await outbox.register({ events: ['job.canceled'] })
    await outbox.ends(1, outcome)
    const { deliveries } = await outbox.store.deliveries(webhook.id, { limit: 10 })
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
    await expect(outbox.jobs.commit(both)).rejects.toThrow('too late')
    const { deliveries } = await outbox.store.deliveries(webhook.id, { limit: 10 })
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
      (await outbox.store.deliveries(id, { limit: 10 })).deliveries.map((one) => one.jobId)
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
  const all = { inFlight: [], notTo: [], perReceiver: 4 }

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

  it('is so many for each receiver, however many wait for one', async () => {
    await outbox.register({ url: 'https://busy.example/a' })
    await outbox.register({ url: 'https://busy.example/b' })
    await outbox.register({ url: 'https://idle.example/' })
    for (const n of [1, 2, 3, 4, 5]) await outbox.ends(n, success)
    const receivers = async (perReceiver: number) =>
      (await outbox.store.due(midnight, { inFlight: [], notTo: [], perReceiver })).deliveries
        .map(({ receiver }) => receiver)
        .toSorted()
    expect(await receivers(2)).toEqual([
      ...Array(2).fill('https://busy.example'),
      ...Array(2).fill('https://idle.example'),
    ])
    expect(await receivers(100)).toHaveLength(15)
    const notTo = ['https://busy.example']
    const rest = await outbox.store.due(midnight, { inFlight: [], notTo, perReceiver: 100 })
    expect(rest.deliveries).toHaveLength(5)
  })

  it('is nothing of a webhook that is gone or deleted', async () => {
    const gone = await outbox.register({})
    const deleted = await outbox.register({})
    for (const n of [1, 2]) await outbox.ends(n, success)
    const { deliveries } = await outbox.store.due(midnight, all)
    const ofGone = deliveries.find(({ webhookId }) => webhookId === gone.id)
    await outbox.settles(ofGone, { become: 'failed', gone: true })
    await outbox.store.remove(deleted.id)
    await outbox.ends(3, success)
    expect((await outbox.store.due(midnight, all)).deliveries).toEqual([])
    expect(await outbox.store.find(gone.id, 'everything')).toMatchObject({ disabledAt: midnight })
  })

  it('is again what is replayed, with new patience', async () => {
    const { id } = await outbox.register({})
    await outbox.ends(1, success)
    const [one] = (await outbox.store.due(midnight, all)).deliveries
    await outbox.settles(one, { become: 'failed', gone: false })
    const later = midnight + 2 * patienceMs
    await outbox.store.replay(one?.id as DueDelivery['id'], later)
    expect((await outbox.store.due(later, all)).deliveries).toMatchObject([
      { id: one?.id, webhookId: id, since: later, attempts: 0, createdAt: midnight },
    ])
  })
})

it('forgets what was settled long ago, and webhooks of jobs that have nothing left to tell', async () => {
  const webhook = await outbox.register({})
  const ofJob = aWebhook({ jobId: jobId(1) })
  await outbox.submits(1, { webhook: ofJob })
  await outbox.finishes(1, success)
  await outbox.ends(2, success)
  const { deliveries } = await outbox.store.due(midnight, {
    inFlight: [],
    notTo: [],
    perReceiver: 9,
  })
  for (const one of deliveries.filter((each) => each.jobId === jobId(1)))
    await outbox.settles(one, { become: 'delivered' })
  await outbox.store.tidy(midnight + 1)
  expect(await outbox.store.find(ofJob.id, 'everything')).toBeUndefined()
  const left = await outbox.store.deliveries(webhook.id, { limit: 10 })
  expect(left.deliveries).toMatchObject([{ jobId: jobId(2), status: 'pending' }])
})

describe('whatever fails meanwhile', () => {
  it('everything arrives in order per job, and never too much at once', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(anyStep, { maxLength: 40 }), async (steps) => {
        const world = await aWorld()
        for (const step of steps) await world.does(step)
        await world.recovers()
        world.checkArrivals()
      }),
      { numRuns: 60 },
    )
  }, 120_000)
})

type Step =
  | { do: 'end'; job: number }
  | { do: 'fail' | 'recover' | 'hang'; receiver: number }
  | { do: 'answer' | 'crash' }
  | { do: 'wait'; ms: number }

const anyStep: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ do: fc.constant('end' as const), job: fc.nat(1_000_000) }) },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constantFrom('fail' as const, 'recover' as const, 'hang' as const),
      receiver: fc.nat(2),
    }),
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constantFrom('answer' as const, 'crash' as const) }) },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('wait' as const),
      ms: fc.integer({ min: 1, max: 600_000 }),
    }),
  },
)

/** The rules between a real store and receivers that fail, with a clock of its own. */
async function aWorld() {
  const { store, register, ends } = await anOutbox()
  const mood: ('well' | 'failing' | 'hanging')[] = ['well', 'well', 'well']
  const names = mood.map((_, index) => `https://receiver-${index}.example`)
  for (const url of names) await register({ url: `${url}/`, events: [...jobEvents] })
  const arrived: DueDelivery[] = []
  const seen = new Set<number>()
  let now = midnight
  let state = initialWebhookState
  let sending: DueDelivery[] = []
  let wakeAt = now

  await tell({ type: 'deliveriesAdded' })

  async function tell(news: WebhookNews): Promise<void> {
    const [next, effects] = transition(state, news, now)
    state = next
    for (const effect of effects) await perform(effect)
  }

  async function perform(effect: WebhookEffect): Promise<void> {
    if (effect.do === 'look') await tell({ type: 'found', due: await store.due(now, effect) })
    if (effect.do === 'lookLater') wakeAt = effect.at
    if (effect.do === 'send') send(effect.delivery)
    if (effect.do === 'settle') {
      await store.settle(effect.id, effect.settlement)
      await tell({ type: 'settled', id: effect.id })
    }
  }

  function send(delivery: DueDelivery): void {
    sending.push(delivery)
    const its = sending.filter(({ receiver }) => receiver === delivery.receiver)
    expect(its.length).toBeLessThanOrEqual(4)
    expect(new Set(its.map((one) => `${one.webhookId} ${one.jobId}`)).size).toBe(its.length)
  }

  /** Each that is on its way is answered, as its receiver is. */
  async function answer(): Promise<void> {
    const answered = sending.filter(({ receiver }) => mood[names.indexOf(receiver)] !== 'hanging')
    sending = sending.filter((one) => !answered.includes(one))
    for (const delivery of answered) {
      const isWell = mood[names.indexOf(delivery.receiver)] === 'well'
      if (isWell) arrived.push(delivery)
      const result: AttemptResult = isWell
        ? { how: 'answered', status: 200 }
        : { how: 'failed', error: 'down' }
      await tell({ type: 'attempted', delivery, result, random: 0.5 })
    }
  }

  async function wait(ms: number): Promise<void> {
    now += ms
    if (wakeAt <= now) await tell({ type: 'lookDue', at: wakeAt })
  }

  return {
    async does(step: Step): Promise<void> {
      if (step.do === 'end' && !seen.has(step.job)) {
        seen.add(step.job)
        await ends(step.job, success, now)
        await tell({ type: 'deliveriesAdded' })
      } else if (step.do === 'answer') await answer()
      else if (step.do === 'wait') await wait(step.ms)
      else if (step.do === 'crash') {
        // What is on its way may have arrived, but nobody will ever note it down.
        arrived.push(...sending.filter(({ receiver }) => mood[names.indexOf(receiver)] === 'well'))
        sending = []
        state = initialWebhookState
        await tell({ type: 'deliveriesAdded' })
      } else if ('receiver' in step) {
        mood[step.receiver] =
          step.do === 'recover' ? 'well' : step.do === 'fail' ? 'failing' : 'hanging'
      }
    },

    async recovers(): Promise<void> {
      mood.fill('well')
      for (let round = 0; round < 200; round += 1) {
        await answer()
        await wait(Math.max(1, wakeAt - now))
        const { deliveries, nextAt } = await store.due(now, {
          inFlight: [],
          notTo: [],
          perReceiver: 1,
        })
        if (deliveries.length === 0 && nextAt === undefined && sending.length === 0) return
      }
      throw new Error('it does not come to an end')
    },

    checkArrivals(): void {
      for (const job of seen) {
        for (const receiver of names) {
          const its = arrived.filter((one) => one.receiver === receiver && one.jobId === jobId(job))
          expect([...new Set(its.map(({ event }) => event))]).toEqual([
            'job.success',
            'video.completed',
          ])
          // Repeated, but never behind what comes after it.
          const events = its.map(({ event }) => event)
          expect(events.lastIndexOf('job.success')).toBeLessThan(events.indexOf('video.completed'))
        }
      }
    },
  }
}

const aWebhook = (known: Partial<NewWebhook> = {}): NewWebhook => ({
  id: newWebhookId(),
  owner: null,
  url: 'https://example.org/hook',
  events: ownEvents,
  createdAt: midnight,
  secret: newSecret(),
  ...known,
})

/** The real stores of jobs and webhooks, in one database. */
async function anOutbox() {
  const { db } = openDatabase(':memory:')
  await migrateToLatest(db)
  const jobs = createJobStore(db)
  const store = createWebhookStore(db)

  const submits = (
    n: number,
    { owner = null, webhook }: { owner?: string | null; webhook?: NewWebhook } = {},
  ) =>
    jobs.commit([
      {
        op: 'submit',
        jobId: jobId(n),
        seq: n,
        request: aRequest(),
        owner,
        address: null,
        ...(webhook && { webhook }),
        at: midnight,
      },
    ])
  /** `success` needs an attempt, whose GPU is free again at once. */
  const finishes = (n: number, outcome: Outcome, at = midnight) => {
    const attempt = { jobId: jobId(n), epoch: 1, at }
    return jobs.commit([
      { op: 'claim', ...attempt, attempt: 1, gpu: gpu0, filename: `video-${n}.mp4` },
      { op: 'generated', ...attempt },
      { op: 'finish', ...attempt, outcome },
    ])
  }

  return {
    jobs,
    store,
    submits,
    finishes,
    async register(known: Partial<NewWebhook>): Promise<NewWebhook> {
      const webhook = aWebhook(known)
      await store.add(webhook)
      return webhook
    },
    async ends(n: number, outcome: Outcome, at = midnight): Promise<void> {
      await submits(n)
      await finishes(n, outcome, at)
    },
    settles: (delivery: DueDelivery | undefined, verdict: Verdict) =>
      store.settle(delivery?.id as DueDelivery['id'], {
        ...verdict,
        at: midnight,
        attempts: 1,
        result: { how: 'failed', error: 'down' },
      }),
  }
}
