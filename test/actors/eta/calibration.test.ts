import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { calibrate, review } from '../../../src/actors/eta/calibration.ts'
import { anOutcome } from '../../support/eta.ts'
import { gpu0 } from '../../support/jobs.ts'

describe('experience with estimates', () => {
  it('leaves the interval as it was made when outcomes go by the book', () => {
    expect(calibrate(outcomesAt(zScores))['50']).toBeCloseTo(1.28, 0)
  })

  it('widens an interval that has held too little, where that was so', () => {
    const widths = calibrate(outcomesAt(zScores.map((z) => 4 * z)))
    expect(widths['50']).toBeGreaterThan(2.5)
    expect(widths['75']).toBeCloseTo(1.28, 0)
  })

  it('narrows one that has held too much, but not to nothing', () => {
    const width = calibrate(outcomesAt(Array.from({ length: 60 }, () => 0.01)))['50']
    expect(width).toBeLessThan(1)
    expect(width).toBeGreaterThan(0.1)
  })

  it('keeps it within reason whatever was', () => {
    fc.assert(
      fc.property(fc.array(fc.double({ min: -1e6, max: 1e6, noNaN: true })), (deviations) => {
        const width = calibrate(outcomesAt(deviations))['50']
        expect(width).toBeGreaterThan(0.1)
        expect(width).toBeLessThan(10)
      }),
    )
  })

  it('is told as errors and the share that was within', () => {
    const outcomes = [80, 100, 100, 125].map((actual, n) =>
      anOutcome(n, { p10: 85, p90: 120, actual }),
    )
    const { jobs, checkpoints, gpus } = review(outcomes)
    expect(jobs).toBe(4)
    expect(checkpoints['50']).toMatchObject({
      estimates: 4,
      withinPercent: 50,
      medianErrorSeconds: 10,
      meanErrorPercent: (25 + 0 + 0 + 20) / 4,
      biasPercent: (-25 + 20) / 4,
    })
    expect(gpus.get(gpu0)).toEqual(checkpoints)
    expect(review([])).toEqual({ jobs: 0, checkpoints: {}, gpus: new Map() })
  })

  const zScores = [-1.8, -1.2, -0.8, -0.5, -0.2, 0, 0.2, 0.5, 0.8, 1.2, 1.8]
  const outcomesAt = (deviations: readonly number[]) =>
    deviations.map((z, n) => anOutcome(n, { actual: 100 * Math.exp(z * 0.1) }))
})
