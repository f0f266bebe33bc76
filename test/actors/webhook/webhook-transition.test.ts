import { describe, expect, it } from 'vitest'
import type { Now } from '../../../src/actors/webhook/delivery-clock.ts'
import type { KnownClient } from '../../../src/actors/webhook/registrant-rules.ts'
import type { AttemptResult, DueDelivery } from '../../../src/actors/webhook/webhook-ports.ts'
import type { WebhookNews } from '../../../src/actors/webhook/webhook-protocol.ts'
import type { WebhookEffect, WebhookState } from '../../../src/actors/webhook/webhook-state.ts'
import {
  initialWebhookState,
  startWebhooks,
  transition,
} from '../../../src/actors/webhook/webhook-transition.ts'
import { newDeliveryId, newWebhookId } from '../../../src/domain/webhook.ts'
import { midnight } from '../../support/jobs.ts'

const down: AttemptResult = { how: 'failed', error: 'connect ECONNREFUSED' }
const fine: AttemptResult = { how: 'answered', status: 200 }

describe('of what is due', () => {
  it('one at a time is sent to a receiver until it has answered well, then four', () => {
    const sender = aSender()
    const [first, ...others] = deliveriesTo('a', 10)
    sender.finds(first as DueDelivery, ...others)
    expect(sender.sentTo('a')).toEqual([first])
    sender.ends(first, fine)
    sender.finds(...others)
    expect(sender.sentTo('a')).toHaveLength(5)
  })

  it('one at a time is sent to a receiver that answers well but slowly', () => {
    const sender = aSender()
    const [first, second, ...others] = deliveriesTo('a', 10)
    sender.finds(first as DueDelivery)
    sender.ends(first, fine)
    sender.finds(second as DueDelivery)
    sender.ends(second, fine, 6_000)
    sender.finds(...others)
    expect(sender.sentTo('a')).toHaveLength(3)
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

  it('a delivery is sent to a new receiver while 100 others of the same client hang', () => {
    const sender = aSender()
    const hanging = Array.from({ length: 100 }, (_, n) => deliveriesTo(`hangs${n}`, 4))
    sender.finds(...hanging.flat())
    sender.finds(...deliveriesTo('works', 1))
    expect(sender.sentTo('works')).toHaveLength(1)
  })

  it('a delivery is sent to a proven receiver however many new and failing ones hang', () => {
    const sender = aSender()
    const [first, second] = deliveriesTo('works', 2)
    sender.finds(first as DueDelivery)
    sender.ends(first, fine)
    const failing = Array.from({ length: 40 }, (_, n) => deliveriesTo(`fails${n}`, 2))
    for (const [one] of failing) {
      sender.finds(one as DueDelivery)
      sender.ends(one, down)
    }
    sender.waits(30_000)
    sender.finds(...failing.map(([, next]) => next as DueDelivery))
    sender.finds(...Array.from({ length: 100 }, (_, n) => deliveriesTo(`new${n}`, 1)).flat())
    sender.finds(second as DueDelivery)
    expect(sender.sentTo('works')).toEqual([first, second])
  })

  it('a failure under one client says nothing about the same receiver under another', () => {
    const sender = aSender()
    const [ofAnna] = deliveriesTo('shared', 1, 'anna')
    sender.finds(ofAnna as DueDelivery)
    sender.ends(ofAnna, down)
    const [next] = deliveriesTo('shared', 1, 'anna')
    const [ofBert] = deliveriesTo('shared', 1, 'bert')
    sender.finds(next as DueDelivery, ofBert as DueDelivery)
    expect(sender.sentTo('shared')).toEqual([ofAnna, ofBert])
  })

  it('nothing is sent twice while it is on its way or being noted down', () => {
    const sender = aSender()
    const [one] = deliveriesTo('a', 1) as [DueDelivery]
    sender.finds(one)
    sender.tell({ type: 'attempted', delivery: one, result: fine, tookMs: 1, random: 0 })
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
      .tell({ type: 'attempted', delivery: one, result: fine, tookMs: 1, random: 0 })
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

describe('a delivery whose webhook is withheld', () => {
  const clients = [
    { name: 'ada', isAdmin: false },
    { name: 'ops', isAdmin: true },
  ]

  it.each([
    ['of a client that is gone', 'bob', 'bob', /bob is no longer in API_TOKENS/],
    ['of everybody’s jobs by a client that is no admin', null, 'ada', /ada is no longer an admin/],
    ['of a client without a token', null, undefined, /registered without a token/],
  ])('%s fails with the reason, without an attempt', (_what, owner, registrant, why) => {
    const sender = aSender(clients)
    const registeredBy = registrant === undefined ? [] : [registrant]
    const [one] = deliveriesTo('a', 1).map((due) => ({ ...due, owner, registeredBy }))
    const effects = sender.finds(one as DueDelivery)
    expect(effects).toMatchObject([
      {
        do: 'settle',
        settlement: {
          become: 'failed',
          gone: false,
          attempts: 0,
          result: { how: 'failed', error: expect.stringMatching(why) },
        },
      },
      { do: 'logAttempt' },
      { do: 'lookLater' },
    ])
    expect(sender.sent).toEqual([])
    expect(sender.finds(one as DueDelivery)).toMatchObject([{ do: 'lookLater' }])
  })

  it('is sent while its client is there, with the role that the webhook needs', () => {
    const sender = aSender(clients)
    const [ofAda, ofOps] = deliveriesTo('a', 2)
    sender.finds({ ...(ofAda as DueDelivery), owner: 'ada', registeredBy: ['ada'], line: 'one' })
    sender.finds({ ...(ofOps as DueDelivery), owner: null, registeredBy: ['ops'], line: 'two' })
    expect(sender.sent).toHaveLength(2)
  })
})

describe('the clock of deliveries', () => {
  it('is stored at the start and every ten minutes, again when that has failed', () => {
    const now = { at: midnight, steady: midnight }
    const [started] = startWebhooks([], now)
    const recalled = { type: 'failuresRecalled', lines: [] } as const
    expect(transition(started, recalled, now)[1]).toContainEqual({ do: 'keepClock', now })
    const sender = aSender()
    const looks = () => {
      const effects = sender.tell({ type: 'deliveriesAdded' })
      sender.tell({ type: 'found', due: { deliveries: [] }, tookMs: 0 })
      return effects.some((one) => one.do === 'keepClock')
    }
    sender.waits(599_999)
    expect(looks()).toBe(false)
    sender.waits(1)
    expect(looks()).toBe(true)
    expect(looks()).toBe(false)
    expect(sender.tell({ type: 'clockNotKept', error: new Error('full') })).toMatchObject([
      { do: 'logClockFailure' },
    ])
    expect(looks()).toBe(true)
  })
})

describe('a step of the wall clock', () => {
  const tenDays = 10 * 24 * 60 * 60_000

  it.each([tenDays, -tenDays])('of %d ms gives up no delivery and silences no receiver', (step) => {
    const sender = aSender()
    const [first, second] = deliveriesTo('a', 2) as [DueDelivery, DueDelivery]
    sender.finds(first)
    sender.steps(step)
    const [settle] = sender.tell({
      type: 'attempted',
      delivery: first,
      result: down,
      tookMs: 1,
      random: 0,
    })
    expect(settle).toMatchObject({
      settlement: { become: 'pending', nextAt: midnight + 2_000, at: midnight + step },
    })
    sender.tell({ type: 'settled', id: first.id })
    expect(sender.tell({ type: 'found', due: { deliveries: [] }, tookMs: 0 })).toMatchObject([
      { do: 'lookLater', withinMs: 2_000 },
    ])
    sender.steps(-step)
    sender.waits(2_000)
    sender.finds(second)
    expect(sender.sent).toEqual([first, second])
  })

  it('deletes no record before its time', () => {
    const sender = aSender()
    sender.steps(tenDays * 100)
    expect(sender.tell({ type: 'tidyDue' })).toMatchObject([
      { do: 'tidy', before: midnight - 3 * tenDays },
      { do: 'tidyLater' },
    ])
  })
})

describe('a new incarnation', () => {
  it('gives receivers that had failed the connections of failing ones', () => {
    const now = { at: midnight, steady: midnight }
    const [started, effects] = startWebhooks([], now)
    expect(effects).toContainEqual({ do: 'recallFailures' })
    const bad = Array.from({ length: 100 }, (_, n) => deliveriesTo(`bad${n}`, 1)).flat()
    const lines = bad.map(({ line }) => line)
    const [knowing, looks] = transition(started, { type: 'failuresRecalled', lines }, now)
    expect(looks).toContainEqual(expect.objectContaining({ do: 'look', lanes: [[], lines] }))
    const [good] = deliveriesTo('good', 1) as [DueDelivery]
    const due = { deliveries: [...bad, good] }
    const [, found] = transition(knowing, { type: 'found', due, tookMs: 0 }, now)
    const sent = found.flatMap((effect) => (effect.do === 'send' ? [effect.delivery] : []))
    expect(sent).toHaveLength(9)
    expect(sent).toContain(good)
  })

  it('looks for deliveries also when it cannot read what had failed', () => {
    const now = { at: midnight, steady: midnight }
    const [started] = startWebhooks([], now)
    const error = new Error('busy')
    const [, effects] = transition(started, { type: 'recallFailed', error }, now)
    expect(effects).toContainEqual({ do: 'logTrouble', trouble: 'reading', error })
    expect(effects).toContainEqual(expect.objectContaining({ do: 'look' }))
  })
})

describe('a look', () => {
  it('leaves those alone that have failed just now, and is taken when that is over', () => {
    const sender = aSender()
    const [one] = deliveriesTo('a', 1) as [DueDelivery]
    sender.finds({ ...one, attempts: 11 })
    sender.ends({ ...one, attempts: 11 }, down)
    sender.tell({ type: 'found', due: { deliveries: [] }, tookMs: 0 })
    expect(sender.tell({ type: 'deliveriesAdded' })).toMatchObject([
      { do: 'look', notTo: ['anna a'] },
    ])
    const until = midnight + 30_000
    expect(sender.tell({ type: 'found', due: { deliveries: [] }, tookMs: 0 })).toMatchObject([
      { do: 'lookLater', at: until },
    ])
    sender.waits(30_000)
    expect(sender.tell({ type: 'lookDue', at: until })).toMatchObject([{ do: 'look', notTo: [] }])
  })

  it('is taken again when something was added while it was under way', () => {
    const sender = aSender()
    expect(sender.tell({ type: 'deliveriesAdded' })).toMatchObject([{ do: 'look' }])
    expect(sender.tell({ type: 'deliveriesAdded' })).toEqual([])
    expect(sender.tell({ type: 'found', due: { deliveries: [] }, tookMs: 0 })).toMatchObject([
      { do: 'look' },
    ])
  })

  it('is taken when the next becomes due, at least once a minute, and once only', () => {
    const sender = aSender()
    const wakes = (nextAt?: number) => {
      sender.tell({ type: 'deliveriesAdded' })
      const due = { deliveries: [], ...(nextAt && { nextAt }) }
      return sender.tell({ type: 'found', due, tookMs: 0 })
    }
    const soon = midnight + 5_000
    expect(wakes(midnight + 10 ** 9)).toMatchObject([{ do: 'lookLater', at: midnight + 60_000 }])
    expect(wakes(soon)).toEqual([{ do: 'lookLater', at: soon, withinMs: 5_000 }])
    expect(sender.tell({ type: 'lookDue', at: midnight + 60_000 })).toEqual([])
    expect(sender.tell({ type: 'lookDue', at: soon })).toMatchObject([{ do: 'look' }])
  })

  it('is followed by a rest when it took long, whatever happens meanwhile', () => {
    const sender = aSender()
    sender.tell({ type: 'deliveriesAdded' })
    sender.tell({ type: 'found', due: { deliveries: [] }, tookMs: 100 })
    sender.waits(399)
    expect(sender.tell({ type: 'deliveriesAdded' })).toEqual([
      { do: 'lookLater', at: midnight + 400, withinMs: 1 },
    ])
    sender.waits(1)
    expect(sender.tell({ type: 'lookDue', at: midnight + 400 })).toMatchObject([{ do: 'look' }])
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

const deliveriesTo = (receiver: string, count: number, party = 'anna'): DueDelivery[] =>
  Array.from({ length: count }, () => ({
    id: newDeliveryId(),
    webhookId: newWebhookId(),
    event: 'job.success',
    createdAt: midnight,
    since: midnight,
    attempts: 0,
    url: `https://${receiver}/`,
    receiver,
    owner: party,
    registeredBy: [party],
    party,
    line: `${party} ${receiver}`,
    secrets: [],
  }))

function aSender(clients: readonly KnownClient[] = []) {
  let state: WebhookState = { ...initialWebhookState(clients), clockKeptAt: midnight }
  let now: Now = { at: midnight, steady: midnight }
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
      now = { at: now.at + ms, steady: now.steady + ms }
    },
    /** The wall clock is corrected, and no time passes. */
    steps(ms: number): void {
      now = { ...now, at: now.at + ms }
    },
    sent,
    sentTo: (receiver: string) => sent.filter((one) => one.receiver === receiver),
    finds: (...deliveries: DueDelivery[]) =>
      tell({ type: 'found', due: { deliveries }, tookMs: 0 }),
    ends(delivery: DueDelivery | undefined, result: AttemptResult, tookMs = 100): void {
      if (!delivery) return
      tell({ type: 'attempted', delivery, result, tookMs, random: 0 })
      tell({ type: 'settled', id: delivery.id })
    },
  }
}
