import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { GenerationStage } from '../../../../src/domain/job.ts'
import {
  beganUpTo,
  type Pace,
  secondsPerStep,
  withStep,
} from '../../../../src/infra/generation/progress/pace.ts'

/** Steps that took so many seconds each, the first one first. */
const paceOf = (...seconds: readonly number[]): Pace => {
  let at = 1_000_000
  return seconds.reduce(
    (pace, took, index) => {
      at += took * 1000
      return withStep(pace, index + 1, at)
    },
    withStep([], 0, at),
  )
}

describe('the pace of a generation', () => {
  it('is not known before a step is done', () => {
    expect(secondsPerStep([])).toBeUndefined()
    expect(secondsPerStep(paceOf())).toBeUndefined()
  })

  it('is that of the first step, which warms up, only as long as there is no other', () => {
    expect(secondsPerStep(paceOf(30))).toBe(30)
    expect(secondsPerStep(paceOf(30, 10))).toBe(10)
    expect(secondsPerStep(paceOf(30, 10, 11))).toBe(10.5)
  })

  it('is not moved by one odd step, as where A14B changes its expert', () => {
    expect(secondsPerStep(paceOf(30, 10, 10, 10, 10, 45))).toBe(10)
    expect(secondsPerStep(paceOf(30, 10, 10, 45))).toBe(10)
  })

  it('follows a card that gets slower within five steps', () => {
    const cool = Array(20).fill(10)
    const hot = Array(5).fill(14)
    expect(secondsPerStep(paceOf(...cool, ...hot.slice(0, 3)))).toBe(10)
    expect(secondsPerStep(paceOf(...cool, ...hot))).toBe(14)
  })

  it('is known where not every step was seen', () => {
    const pace = [
      [0, 0],
      [5, 2],
      [15, 3],
      [25, 4],
    ].reduce<Pace>((before, [step = 0, s = 0]) => withStep(before, step, s * 1000), [])
    expect(secondsPerStep(pace)).toBe(0.1)
  })

  it('is not known where all steps were seen at once', () => {
    expect(secondsPerStep(paceOf(0, 0, 0))).toBeUndefined()
  })

  it('lies between the quickest and the slowest step, and needs no more memory for more of them', () => {
    const seconds = fc.array(fc.double({ min: 0.01, max: 1000, noNaN: true }), { minLength: 1 })
    fc.assert(
      fc.property(seconds, (took) => {
        const pace = paceOf(...took)
        const [fastest, slowest] = [Math.min(...took), Math.max(...took)]
        expect(secondsPerStep(pace)).toBeGreaterThanOrEqual(fastest - 0.002)
        expect(secondsPerStep(pace)).toBeLessThanOrEqual(slowest + 0.002)
        expect(pace.length).toBeLessThanOrEqual(9)
      }),
    )
  })

  it('goes back neither in steps nor in time, whatever it is told', () => {
    const sightings = fc.array(fc.tuple(fc.nat(50), fc.integer({ min: 0, max: 1e13 })))
    fc.assert(
      fc.property(sightings, (told) => {
        const pace = told.reduce<Pace>((before, [step, at]) => withStep(before, step, at), [])
        for (const [index, { step, at }] of pace.slice(1).entries()) {
          expect(step).toBeGreaterThan(pace[index]?.step ?? 0)
          expect(at).toBeGreaterThanOrEqual(pace[index]?.at ?? 0)
        }
        expect(secondsPerStep(pace) ?? 1).toBeGreaterThan(0)
      }),
    )
  })
})

describe('the begins of the stages', () => {
  const stages = ['loading', 'encoding', 'denoising', 'decoding', 'saving'] as const
  const start = 1_000_000
  const time = fc.option(fc.integer({ min: -1e12, max: 1e12 }), { nil: undefined })
  const begins = fc.record({ encoding: time, denoising: time, decoding: time, saving: time })

  it('are in order, between the start and what is known, and none of a later stage', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...stages),
        begins,
        fc.integer({ min: start, max: 2 * start }),
        (stage: GenerationStage, begun, latest) => {
          const known = Object.entries(begun).filter(([, at]) => at !== undefined)
          const began = beganUpTo(stage, { loading: start, ...Object.fromEntries(known) }, latest)
          const times = Object.values(began)
          expect(times).toEqual(times.toSorted((a, b) => a - b))
          expect(began.loading).toBe(start)
          expect(times.at(-1)).toBeLessThanOrEqual(latest)
          const upTo = stages.slice(0, stages.indexOf(stage) + 1)
          expect(Object.keys(began).every((one) => upTo.includes(one as never))).toBe(true)
        },
      ),
    )
  })
})
