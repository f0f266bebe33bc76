import { describe, expect, it } from 'vitest'
import type { AttemptResult, DueDelivery } from '../../../src/actors/webhook/webhook-ports.ts'
import type { WebhookNews } from '../../../src/actors/webhook/webhook-protocol.ts'
import type { WebhookEffect, WebhookState } from '../../../src/actors/webhook/webhook-state.ts'
import { initialWebhookState, transition } from '../../../src/actors/webhook/webhook-transition.ts'
import { newDeliveryId, newWebhookId } from '../../../src/domain/webhook.ts'
import { midnight } from '../../support/jobs.ts'

const down: AttemptResult = { how: 'failed', error: 'connect ECONNREFUSED' }
const fine: AttemptResult = { how: 'answered', status: 200 }

describe('of what is due', () => {
  it('four at a time are sent to one receiver', () => {
    const sender = aSender()
    sender.finds(...deliveriesTo('a', 10))
    expect(sender.sentTo('a')).toHaveLength(4)
    sender.finds(...deliveriesTo('b', 10))
    expect(sender.sentTo('b')).toHaveLength(4)
  })

  it('no more than 64 are sent at once, however many receivers there are', () => {
    const sender = aSender()
    sender.finds(...Array.from({ length: 100 }, (_, n) => deliveriesTo(`r${n}`, 1)).flat())
    expect(sender.sent).toHaveLength(64)
  })

  it('nothing is sent to a receiver that has failed for a while, then one at a time, until it answers well', () => {
    const sender = aSender()
    const [first, ...others] = deliveriesTo('a', 6)
    sender.finds(first as DueDelivery)
    sender.ends(first, down)
    sender.finds(...others)
    expect(sender.sentTo('a')).toEqual([first])
    sender.waits(2_000)
    sender.finds(...others)
    expect(sender.sentTo('a')).toEqual([first, others[0]])
    sender.ends(others[0], fine)
    sender.finds(...others.slice(1))
    expect(sender.sentTo('a')).toHaveLength(6)
  })

  it('most is kept for those that work, however many receivers are dead', () => {
    const sender = aSender()
    const dead = Array.from({ length: 40 }, (_, n) => deliveriesTo(`dead${n}`, 2))
    sender.finds(...dead.map(([first]) => first as DueDelivery))
    for (const [first] of dead) sender.ends(first, down)
    const before = sender.sent.length
    sender.waits(2_000)
    sender.finds(...dead.map(([, second]) => second as DueDelivery))
    expect(sender.sent.length - before).toBe(16)
    sender.finds(...deliveriesTo('alive', 4))
    expect(sender.sentTo('alive')).toHaveLength(4)
  })

  it('nothing is sent twice while it is on its way or being noted down', () => {
    const sender = aSender()
    const [one] = deliveriesTo('a', 1) as [DueDelivery]
    sender.finds(one)
    sender.tell({ type: 'attempted', delivery: one, result: fine, random: 0 })
    sender.finds(one)
    expect(sender.sent).toEqual([one])
  })
})

describe('what could not be noted down', () => {
  it('is noted down later, and not sent again meanwhile', () => {
    const sender = aSender()
    const [one] = deliveriesTo('a', 1) as [DueDelivery]
    sender.finds(one)
    const { settlement } = sender
      .tell({ type: 'attempted', delivery: one, result: fine, random: 0 })
      .find((effect) => effect.do === 'settle') as Extract<WebhookEffect, { do: 'settle' }>
    const failed = { id: one.id, settlement, error: new Error('disk full') }
    const effects = sender.tell({ type: 'settlingFailed', ...failed })
    expect(effects).toContainEqual({ do: 'settleLater', id: one.id, settlement })
    expect(sender.tell({ type: 'settlingDue', id: one.id, settlement })).toEqual([
      { do: 'settle', id: one.id, settlement },
    ])
    sender.finds(one)
    expect(sender.sent).toEqual([one])
  })
})

describe('a delivery that cannot be prepared', () => {
  it('is logged and retried like a failed attempt', () => {
    const sender = aSender()
    const [one] = deliveriesTo('a', 1) as [DueDelivery]
    sender.finds(one)
    const error = new Error('the job cannot be read')
    const news = { type: 'preparationFailed', delivery: one, error, random: 0 } as const
    const result = { how: 'failed', error: 'It could not be made ready; the log says why.' }
    expect(sender.tell(news)).toMatchObject([
      { do: 'logUnprepared', id: one.id, error },
      { do: 'settle', id: one.id, settlement: { become: 'pending', attempts: 1, result } },
      { do: 'logAttempt', delivery: one },
    ])
  })
})

describe('a cleanup', () => {
  it('is scheduled again before it has ended, and logged when it fails', () => {
    const sender = aSender()
    expect(sender.tell({ type: 'tidyDue' })).toMatchObject([{ do: 'tidy' }, { do: 'tidyLater' }])
    const error = new Error('the database is busy')
    expect(sender.tell({ type: 'tidyFailed', error })).toEqual([{ do: 'logTidyFailure', error }])
  })
})

describe('a look', () => {
  it('leaves those alone that have failed just now, and is taken when that is over', () => {
    const sender = aSender()
    const [one] = deliveriesTo('a', 1) as [DueDelivery]
    sender.finds({ ...one, attempts: 11 })
    sender.ends({ ...one, attempts: 11 }, down)
    sender.tell({ type: 'found', due: { deliveries: [] } })
    expect(sender.tell({ type: 'deliveriesAdded' })).toMatchObject([{ do: 'look', notTo: ['a'] }])
    const until = midnight + 30_000
    expect(sender.tell({ type: 'found', due: { deliveries: [] } })).toMatchObject([
      { do: 'lookLater', at: until },
    ])
    sender.waits(30_000)
    expect(sender.tell({ type: 'lookDue', at: until })).toMatchObject([{ do: 'look', notTo: [] }])
  })

  it('is taken again when something was added while it was under way', () => {
    const sender = aSender()
    expect(sender.tell({ type: 'deliveriesAdded' })).toMatchObject([{ do: 'look' }])
    expect(sender.tell({ type: 'deliveriesAdded' })).toEqual([])
    expect(sender.tell({ type: 'found', due: { deliveries: [] } })).toMatchObject([{ do: 'look' }])
  })

  it('is taken when the next becomes due, at least once a minute, and once only', () => {
    const sender = aSender()
    const wakes = (nextAt?: number) => {
      sender.tell({ type: 'deliveriesAdded' })
      const due = { deliveries: [], ...(nextAt && { nextAt }) }
      return sender.tell({ type: 'found', due })
    }
    const soon = midnight + 5_000
    expect(wakes(midnight + 10 ** 9)).toMatchObject([{ do: 'lookLater', at: midnight + 60_000 }])
    expect(wakes(soon)).toEqual([{ do: 'lookLater', at: soon, withinMs: 5_000 }])
    expect(sender.tell({ type: 'lookDue', at: midnight + 60_000 })).toEqual([])
    expect(sender.tell({ type: 'lookDue', at: soon })).toMatchObject([{ do: 'look' }])
  })

  it('is taken again a second after one that failed', () => {
    const sender = aSender()
    sender.tell({ type: 'deliveriesAdded' })
    expect(sender.tell({ type: 'lookFailed', error: new Error('busy') })).toMatchObject([
      { do: 'lookLater', withinMs: 1_000 },
      { do: 'logTrouble' },
    ])
  })
})

const deliveriesTo = (receiver: string, count: number): DueDelivery[] =>
  Array.from({ length: count }, () => ({
    id: newDeliveryId(),
    webhookId: newWebhookId(),
    event: 'job.success',
    createdAt: midnight,
    since: midnight,
    attempts: 0,
    url: `https://${receiver}/`,
    receiver,
    secrets: [],
  }))

function aSender() {
  let state: WebhookState = initialWebhookState
  let now = midnight
  const sent: DueDelivery[] = []

  function tell(news: WebhookNews): readonly WebhookEffect[] {
    const [next, effects] = transition(state, news, now)
    state = next
    for (const effect of effects) if (effect.do === 'send') sent.push(effect.delivery)
    return effects
  }

  return {
    tell,
    waits(ms: number): void {
      now += ms
    },
    sent,
    sentTo: (receiver: string) => sent.filter((one) => one.receiver === receiver),
    finds: (...deliveries: DueDelivery[]) => tell({ type: 'found', due: { deliveries } }),
    ends(delivery: DueDelivery | undefined, result: AttemptResult): void {
      if (!delivery) return
      tell({ type: 'attempted', delivery, result, random: 0 })
      tell({ type: 'settled', id: delivery.id })
    },
  }
}
