import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { betterOffset, createDatabaseClock, offsetOf } from '../../src/cluster/database-clock.ts'

const hour = 60 * 60 * 1000
/** Time of the database at monotonic time 0. */
const epoch = Date.UTC(2026, 10, 30)

describe('the clock of the database', () => {
  it('is off by no more than half of a round trip, whatever the wall clock says', () => {
    fc.assert(
      fc.property(fc.nat(1_000), fc.nat(1_000), fc.nat(10_000), (sendMs, returnMs, laterMs) => {
        let monotonic = 0
        const look = { askedAt: 0, answeredAt: sendMs + returnMs }
        const clock = createDatabaseClock(offsetOf(epoch + sendMs, look), () => monotonic)
        monotonic = look.answeredAt + laterMs
        const error = Math.abs(clock.now() - (epoch + monotonic))
        expect(error).toBeLessThanOrEqual(clock.maxErrorMs() + 0.5)
        expect(clock.maxErrorMs()).toBeLessThanOrEqual((sendMs + returnMs) / 2 + laterMs * 0.001)
      }),
    )
  })

  it('never goes back while the clock of the database is not set', () => {
    const look = fc.record({ afterMs: fc.nat(2_000), sendMs: fc.nat(300), returnMs: fc.nat(300) })
    fc.assert(
      fc.property(fc.array(look), (looks) => {
        let monotonic = 0
        const clock = createDatabaseClock(
          offsetOf(epoch, { askedAt: 0, answeredAt: 0 }),
          () => monotonic,
        )
        let latest = clock.now()
        for (const { afterMs, sendMs, returnMs } of looks) {
          const askedAt = monotonic + afterMs
          const answeredAt = askedAt + sendMs + returnMs
          monotonic = answeredAt
          clock.observe(epoch + askedAt + sendMs, { askedAt, answeredAt })
          expect(clock.now()).toBeGreaterThanOrEqual(latest)
          latest = clock.now()
        }
      }),
    )
  })

  it('follows a clock of the database that was set, forwards and backwards', () => {
    for (const setBy of [hour, -hour]) {
      let monotonic = 0
      const clock = createDatabaseClock(
        offsetOf(epoch, { askedAt: 0, answeredAt: 4 }),
        () => monotonic,
      )
      clock.now()
      monotonic = 1_000
      clock.observe(epoch + 998 + setBy, { askedAt: 996, answeredAt: 1_000 })
      expect(Math.abs(clock.now() - (epoch + 1_000 + setBy))).toBeLessThanOrEqual(2)
    }
  })

  it('keeps the more exact of two looks until drift makes it worse', () => {
    const exact = offsetOf(epoch, { askedAt: 0, answeredAt: 2 })
    const slow = offsetOf(epoch + 150, { askedAt: 100, answeredAt: 200 })
    expect(betterOffset(exact, slow)).toBe(exact)
    const muchLater = offsetOf(epoch + hour, { askedAt: hour - 50, answeredAt: hour + 50 })
    expect(betterOffset(exact, muchLater)).toBe(muchLater)
  })
})
