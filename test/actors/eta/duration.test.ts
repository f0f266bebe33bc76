import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type Duration, remaining, whole } from '../../../src/actors/eta/duration.ts'

const seconds = fc.double({ min: 0.01, max: 1e6, noNaN: true })
const duration = fc.record({
  median: seconds,
  spread: fc.double({ min: 0, max: 1, noNaN: true }),
  doubt: fc.double({ min: 0, max: 1, noNaN: true }),
})

describe('what is left of a duration', () => {
  it('is all of it at first', () => {
    const usual = { median: 60, spread: 0.1, doubt: 0.05 }
    expect(remaining(usual, 0)).toEqual(whole(usual))
    expect(remaining(usual, 0.001).median).toBeCloseTo(60, 0)
  })

  it('shrinks with the clock as long as nothing is late', () => {
    const usual = { median: 60, spread: 0.05, doubt: 0 }
    expect(remaining(usual, 20).median).toBeCloseTo(40, 0)
    expect(remaining(usual, 50).median).toBeCloseTo(10, 0)
  })

  it('grows when it is long overdue: nobody is told "any moment" for minutes', () => {
    const usual = { median: 60, spread: 0.05, doubt: 0 }
    expect(remaining(usual, 120).median).toBeGreaterThan(10)
    expect(remaining(usual, 600).median).toBeGreaterThan(remaining(usual, 120).median)
    expect(remaining(usual, 1e6).median).toBeGreaterThan(1e5)
  })

  it('is always some time, and never promises an earlier end because time has passed', () => {
    fc.assert(
      fc.property(duration, seconds, seconds, (duration, earlier, more) => {
        const before = remaining(duration, earlier)
        const after = remaining(duration, earlier + more)
        for (const { median, deviation, doubt } of [before, after]) {
          expect(median).toBeGreaterThan(0)
          for (const value of [median, deviation, doubt]) {
            expect(value).toSatisfy(Number.isFinite)
            expect(value).toBeGreaterThanOrEqual(0)
          }
        }
        expect(earlier + more + after.median).toBeGreaterThanOrEqual(
          (earlier + before.median) * (1 - 1e-6),
        )
      }),
    )
  })

  it('is left more than so long by half of those that were not over yet', () => {
    const usual: Duration = { median: 100, spread: 0.2, doubt: 0 }
    // The quantiles of a normal distribution: at 120 s 18 % are left, of which half last beyond 134 s.
    expect(120 + remaining(usual, 120).median).toBeCloseTo(134, -1)
  })
})
