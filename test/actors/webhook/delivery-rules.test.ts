import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  backOffMs,
  judge,
  patienceMs,
  type Tried,
} from '../../../src/actors/webhook/delivery-rules.ts'
import type { AttemptResult } from '../../../src/actors/webhook/webhook-ports.ts'
import { midnight } from '../../support/jobs.ts'

const tried = (known: Partial<Tried> = {}): Tried => ({
  event: 'job.success',
  since: midnight,
  attempts: 1,
  ...known,
})
const answered = (status: number, retryAfterMs?: number): AttemptResult => ({
  how: 'answered',
  status,
  ...(retryAfterMs !== undefined && { retryAfterMs }),
})
const noAnswer: AttemptResult = { how: 'failed', error: 'connect ECONNREFUSED' }
const random = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true })

describe('a delivery', () => {
  it.each([200, 201, 202, 204, 299])('has arrived with %d', (status) => {
    expect(judge(tried(), answered(status), midnight, 0)).toEqual({ become: 'delivered' })
  })

  it.each([100, 301, 302, 304, 307, 400, 401, 404, 429, 500, 503, 599])(
    'is tried again after %d',
    (status) => {
      expect(judge(tried(), answered(status), midnight, 0)).toMatchObject({ become: 'pending' })
    },
  )

  it('is tried again when there was no answer', () => {
    expect(judge(tried(), noAnswer, midnight, 0)).toEqual({
      become: 'pending',
      nextAt: midnight + 2_000,
    })
  })

  it('ends, with its webhook, when the receiver is gone', () => {
    expect(judge(tried(), answered(410), midnight, 0)).toEqual({ become: 'failed', gone: true })
  })

  it('that is only a test is tried once', () => {
    const verdict = judge(tried({ event: 'webhook.test' }), noAnswer, midnight, 0)
    expect(verdict).toEqual({ become: 'failed', gone: false })
  })

  it('waits as long as the receiver asks for, and no shorter than otherwise', () => {
    const asking = (ms: number) => judge(tried({ attempts: 3 }), answered(503, ms), midnight, 0)
    expect(asking(90_000)).toEqual({ become: 'pending', nextAt: midnight + 90_000 })
    expect(asking(0)).toEqual({ become: 'pending', nextAt: midnight + 8_000 })
  })

  it('is tried over 24 hours, a last time at their end, and then no more', () => {
    fc.assert(
      fc.property(fc.array(random, { minLength: 200, maxLength: 200 }), (randoms) => {
        const times: number[] = []
        let at = midnight
        for (const [index, one] of randoms.entries()) {
          times.push(at)
          const verdict = judge(tried({ attempts: index + 1 }), noAnswer, at, one)
          if (verdict.become !== 'pending') break
          expect(verdict.nextAt).toBeGreaterThan(at)
          at = verdict.nextAt
        }
        expect(times.at(-1)).toBe(midnight + patienceMs)
        expect(times.length).toBeGreaterThan(25)
        expect(times.length).toBeLessThan(80)
        // Who comes back after an hour is not kept waiting for much longer than that.
        for (const [index, time] of times.entries())
          expect(time - (times[index - 1] ?? time)).toBeLessThanOrEqual(60 * 60_000)
      }),
    )
  })

  it('waits twice as long each time, between half and all of it, and never more than an hour', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 2_000 }), random, (attempts, one) => {
        const most = Math.min(2_000 * 2 ** (attempts - 1), 60 * 60_000)
        expect(backOffMs(attempts, one)).toBeLessThanOrEqual(most)
        expect(backOffMs(attempts, one)).toBeGreaterThanOrEqual(most / 2)
      }),
    )
  })

  it('never becomes pending for a time that is past, whatever is answered', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 2 * patienceMs }),
        fc.integer({ min: 1, max: 100 }),
        fc.integer({ min: 100, max: 599 }),
        fc.option(fc.integer({ min: 0, max: 10 ** 12 }), { nil: undefined }),
        random,
        (age, attempts, status, retryAfterMs, one) => {
          const at = midnight + age
          const verdict = judge(tried({ attempts }), answered(status, retryAfterMs), at, one)
          if (verdict.become !== 'pending') return
          expect(verdict.nextAt).toBeGreaterThan(at)
          expect(verdict.nextAt).toBeLessThanOrEqual(midnight + patienceMs)
        },
      ),
    )
  })
})
