import fc from 'fast-check'
import { expect } from 'vitest'
import type { AttemptResult, DueDelivery } from '../../../src/actors/webhook/webhook-ports.ts'
import type { WebhookNews } from '../../../src/actors/webhook/webhook-protocol.ts'
import type { WebhookEffect } from '../../../src/actors/webhook/webhook-state.ts'
import { initialWebhookState, transition } from '../../../src/actors/webhook/webhook-transition.ts'
import { dayMs } from '../../../src/domain/time.ts'
import { jobEvents } from '../../../src/domain/webhook.ts'
import { aVideo, jobId, midnight } from '../jobs.ts'
import { everythingDue, type Outbox } from './webhook-outbox.ts'

export type OutboxStep =
  | { do: 'end'; job: number }
  | { do: 'fail' | 'recover' | 'hang'; receiver: number }
  | { do: 'answer' | 'crash' }
  | { do: 'wait'; ms: number }
  /** The wall clock is corrected. */
  | { do: 'step'; ms: number }

export const anyOutboxStep: fc.Arbitrary<OutboxStep> = fc.oneof(
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
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('step' as const),
      ms: fc.integer({ min: -9 * dayMs, max: 9 * dayMs }),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('wait' as const),
      ms: fc.integer({ min: 1, max: 600_000 }),
    }),
  },
)

/** The rules between a real store and receivers that fail, with a clock of its own. */
export async function anOutboxWorld({ store, register, ends }: Outbox) {
  const mood: ('well' | 'failing' | 'hanging')[] = ['well', 'well', 'well']
  const names = mood.map((_, index) => `https://receiver-${index}.example`)
  for (const url of names) await register({ url: `${url}/`, events: [...jobEvents] })
  const arrived: DueDelivery[] = []
  const seen = new Set<number>()
  let now = midnight
  let steppedMs = 0
  let state = initialWebhookState([])
  let sending: DueDelivery[] = []
  let wakeAt = now

  await tell({ type: 'deliveriesAdded' })

  async function tell(news: WebhookNews): Promise<void> {
    const [next, effects] = transition(state, news, { at: now + steppedMs, steady: now })
    state = next
    for (const effect of effects) await perform(effect)
  }

  async function perform(effect: WebhookEffect): Promise<void> {
    if (effect.do === 'look') {
      await tell({ type: 'found', due: await store.due(now, effect), tookMs: 0 })
    }
    if (effect.do === 'keepClock') await store.keepClock(effect.now)
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
      await tell({ type: 'attempted', delivery, result, tookMs: 100, random: 0.5 })
    }
  }

  async function wait(ms: number): Promise<void> {
    now += ms
    if (wakeAt <= now) await tell({ type: 'lookDue', at: wakeAt })
  }

  return {
    async does(step: OutboxStep): Promise<void> {
      if (step.do === 'end' && !seen.has(step.job)) {
        seen.add(step.job)
        await ends(step.job, { status: 'success', video: aVideo() }, now + steppedMs)
        await tell({ type: 'deliveriesAdded' })
      } else if (step.do === 'answer') await answer()
      else if (step.do === 'wait') await wait(step.ms)
      else if (step.do === 'step') steppedMs += step.ms
      else if (step.do === 'crash') {
        // What is on its way may have arrived, but nobody will ever note it down.
        arrived.push(...sending.filter(({ receiver }) => mood[names.indexOf(receiver)] === 'well'))
        sending = []
        state = initialWebhookState([])
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
        const { deliveries, nextAt } = await store.due(now, everythingDue)
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
