import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { outlookOf, progressOf, type RunningAttempt } from '../../../src/actors/eta/running.ts'
import { learn } from '../../../src/actors/eta/speed-model.ts'
import { type Reading, stages } from '../../../src/domain/job.ts'
import { anAttemptThatRuns, aPast, aTraced, speeds, usual } from '../../support/eta.ts'
import { gpu0, midnight } from '../../support/jobs.ts'

describe('the outlook of a running job', () => {
  const plan = learn(
    Array.from({ length: 12 }, (_, n) =>
      aTraced(gpu0, n, { encoding: 60, denoising: 70, decoding: 570, saving: 620 }, 622, 626),
    ),
    speeds(),
  ).plan(gpu0, usual, 'fromMemory')
  const left = (reading: Reading | undefined, after: number) =>
    outlookOf(
      { ...anAttemptThatRuns(), ...(reading && { reading }) },
      plan,
      midnight + after * 1000,
    )
  const began = { loading: midnight, encoding: midnight + 60_000, denoising: midnight + 70_000 }

  it.each<[string, Reading | undefined, after: number, expected: number]>([
    ['before anything was heard', undefined, 0, 626],
    ['while it loads', { stage: 'loading', began }, 30, 596],
    ['while it encodes', { stage: 'encoding', began }, 65, 561],
    ['before the first step', { stage: 'denoising', began, step: 0, totalSteps: 50 }, 70, 556],
    ['in the middle', stepped(25, 10), 320, 306],
    ['at its own pace, where that is another', stepped(25, 20), 570, 500 + 56 * 1.62],
    [
      'after the last step',
      { stage: 'decoding', began: { ...began, decoding: midnight + 570_000 } },
      590,
      36,
    ],
  ])('%s, is what is left of the usual', (_, reading, after, expected) => {
    const { video, gpu } = left(reading, after)
    expect(video.median / expected).toBeCloseTo(1, 1)
    expect(video.median - gpu.median).toBeCloseTo(4, 0)
  })

  it('is not led astray by a stage whose begin nobody saw', () => {
    expect(left({ stage: 'encoding' }, 65).video.median).toBeCloseTo(561, -1)
  })

  it('is that of the conversion once the GPU is free', () => {
    const job = { ...anAttemptThatRuns(), phase: 'converting', generatedAt: midnight } as const
    const { video, gpu } = outlookOf(job, plan, midnight + 1_000)
    expect(video.median).toBeCloseTo(3, 0)
    expect(gpu.median).toBe(0)
  })

  it('does not stand still at a step that does not end', () => {
    const at = (after: number) => left(stepped(25, 10), after).video.median + after
    expect(at(600)).toBeGreaterThan(at(330))
  })

  it('is better known the further it has come', () => {
    const spread = (reading: Reading, after: number) => left(reading, after).video.deviation
    expect(spread(stepped(45, 10), 520)).toBeLessThan(spread(stepped(2, 10), 90))
  })

  function stepped(step: number, pace: number): Reading {
    const steppedAt = midnight + 70_000 + step * pace * 1000
    const steps = { step, totalSteps: 50, steppedAt, secondsPerStep: pace }
    return { stage: 'denoising', began, source: 'events', ...steps }
  }
})

describe('progress', () => {
  const plan = learn(aPast([gpu0, 600, 5]), speeds()).plan(gpu0, usual, 'fromMemory')
  const reading = fc.record(
    {
      stage: fc.constantFrom(...stages.slice(0, -1)),
      step: fc.nat(60),
      totalSteps: fc.constant(50),
      secondsPerStep: fc.double({ min: 0, max: 1e4, noNaN: true }),
      delay: fc.nat(1e6),
    },
    { requiredKeys: ['stage', 'delay'] },
  )

  it('never goes back while time and readings go on, and is below 1', () => {
    fc.assert(
      fc.property(fc.array(reading, { maxLength: 20 }), fc.nat(1e6), (readings, last) => {
        const way = readings
          .map((one) => ({ ...one, step: one.stage === 'denoising' ? (one.step ?? 0) : undefined }))
          .toSorted((a, b) => rank(a as Reading) - rank(b as Reading))
          // Each stage and step is reported once.
          .filter(
            (one, index, all) => rank(one as Reading) !== rank((all[index - 1] ?? {}) as Reading),
          )
        let now = midnight
        let latest = -1
        const began: Record<string, number> = {}
        const check = (job: RunningAttempt) => {
          const progress = progressOf(job, plan, now)
          expect(progress).toBeGreaterThanOrEqual(latest)
          expect(progress).toBeLessThan(1)
          latest = progress
        }
        for (const { delay, ...heard } of way) {
          began[heard.stage] ??= now
          const reading = { ...heard, began: { ...began }, steppedAt: now } as Reading
          const job = { ...anAttemptThatRuns(), reading }
          check(job)
          now += delay
          check(job)
        }
        const generatedAt = now
        check({ ...anAttemptThatRuns(), phase: 'converting', generatedAt })
        now += last
        check({ ...anAttemptThatRuns(), phase: 'converting', generatedAt })
      }),
    )
  })

  it('is a share of the time', () => {
    const at = (job: Partial<RunningAttempt>, after: number) =>
      progressOf({ ...anAttemptThatRuns(), ...job }, plan, midnight + after * 1000)
    expect(at({}, 0)).toBe(0)
    expect(at({}, 30)).toBeCloseTo(30 / 605, 2)
    const denoising: Reading = { stage: 'denoising', step: 25, totalSteps: 50 }
    expect(at({ reading: denoising }, 300)).toBeCloseTo(0.515, 1)
    expect(at({ phase: 'converting', generatedAt: midnight }, 0)).toBeCloseTo(600 / 605, 2)
  })

  it('goes by the steps that were asked for when the bar counts to nothing', () => {
    const reading: Reading = { stage: 'denoising', step: 0, totalSteps: 0, steppedAt: midnight }
    const at = (job: Partial<RunningAttempt>) =>
      progressOf({ ...anAttemptThatRuns(), ...job }, plan, midnight)
    expect(at({ reading })).toBe(at({ reading: { ...reading, totalSteps: usual.steps } }))
  })

  const rank = ({ stage, step = 0 }: Reading) => stages.indexOf(stage) * 100 + step
})
