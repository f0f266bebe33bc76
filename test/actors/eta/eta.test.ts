import fc from 'fast-check'
import { describe, expect, it, vi } from 'vitest'
import { ask, tell } from '../../../src/actors/actor.ts'
import { calibrate, review } from '../../../src/actors/eta/calibration.ts'
import { type Duration, remaining, whole } from '../../../src/actors/eta/duration.ts'
import { createEstimator } from '../../../src/actors/eta/estimator.ts'
import { etaBehaviour } from '../../../src/actors/eta/eta-actor.ts'
import type { EstimateOutcome, PastAttempt } from '../../../src/actors/eta/eta-ports.ts'
import { publishedSeconds } from '../../../src/actors/eta/published-speeds.ts'
import { outlookOf, progressOf, type RunningAttempt } from '../../../src/actors/eta/running.ts'
import { learn, onGpu, type SpeedModelOptions } from '../../../src/actors/eta/speed-model.ts'
import { get, values } from '../../../src/actors/ordered-map.ts'
import type {
  FinishedAttempt,
  QueueMessage,
  QueueState,
  RunningJob,
} from '../../../src/actors/queue/queue-protocol.ts'
import { restoreQueue } from '../../../src/actors/queue/queue-state.ts'
import { transition } from '../../../src/actors/queue/queue-transition.ts'
import type { ToldEstimate } from '../../../src/domain/estimate.ts'
import {
  type GpuHealth,
  type GpuId,
  type Job,
  type JobId,
  type Reading,
  type Shape,
  stages,
} from '../../../src/domain/job.ts'
import {
  anActor,
  aQueuedJob,
  aRequest,
  aRunningJob,
  gpu0,
  gpu1,
  gpu2,
  gpuId,
  jobId,
  midnight,
  queueSettings,
} from '../../support/jobs.ts'
import { createProbe } from '../../support/probe.ts'

const usual: Shape = { size: '1280x720', frames: 121, steps: 50 }
const hour = 3_600_000

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

describe('the model of speeds', () => {
  const gpuSeconds = (plan: ReturnType<ReturnType<typeof learn>['plan']>) => onGpu(plan).median

  it('has learned what always took the same', () => {
    const model = learn(aPast([gpu0, 100, 20], [gpu1, 300, 20]), speeds())
    expect(gpuSeconds(model.plan(gpu0, usual, false))).toBeCloseTo(100)
    expect(gpuSeconds(model.plan(gpu1, usual, false))).toBeCloseTo(300)
    expect(model.plan(gpu0, usual, false).converting.median).toBeCloseTo(20)
  })

  it('knows each stage by itself where it was seen', () => {
    const began = { encoding: 30, denoising: 40, decoding: 80, saving: 95 }
    const past = Array.from({ length: 5 }, (_, n) => aTraced(gpu0, n, began, 100, 104))
    const plan = learn(past, speeds()).plan(gpu0, usual, false)
    const medians = stages.map((stage) => Math.round(plan[stage].median))
    expect(medians).toEqual([30, 10, 40, 15, 5, 4])
  })

  it('shares the time of stages that nobody saw out among them', () => {
    const past = Array.from({ length: 5 }, (_, n) => aTraced(gpu0, n, { denoising: 40 }, 100, 104))
    const plan = learn(past, speeds()).plan(gpu0, usual, false)
    expect(plan.loading.median + plan.encoding.median).toBeCloseTo(40)
    expect(plan.denoising.median + plan.decoding.median + plan.saving.median).toBeCloseTo(60)
  })

  it('is not moved by an outlier', () => {
    const past = aPast(...Array.from({ length: 9 }, () => [gpu0, 100] as const), [gpu0, 5_000])
    const plan = learn(past, speeds()).plan(gpu0, usual, false)
    expect(gpuSeconds(plan)).toBeLessThan(105)
  })

  it('goes with the times: what was long ago counts little', () => {
    const before = Array.from({ length: 40 }, () => [gpu0, 100] as const)
    const since = Array.from({ length: 12 }, () => [gpu0, 150] as const)
    const plan = learn(aPast(...before, ...since), speeds()).plan(gpu0, usual, false)
    expect(gpuSeconds(plan)).toBeCloseTo(150, 0)
  })

  it('scales what it has never seen by frames and steps', () => {
    const model = learn(aPast([gpu0, 1_000], [gpu0, 1_000]), speeds())
    const [all, half] = [usual, { ...usual, steps: 25 }].map((shape) =>
      model.plan(gpu0, shape, false),
    )
    expect(half?.denoising.median).toBeCloseTo((all?.denoising.median ?? 0) / 2)
    expect(half?.loading).toEqual(all?.loading)
    const longer = model.plan(gpu0, { ...usual, frames: 241 }, false)
    expect(longer.decoding.median / (all?.decoding.median ?? 1)).toBeCloseTo(61 / 31)
    expect(longer.decoding.doubt).toBeGreaterThan(all?.decoding.doubt ?? 1)
  })

  it('learns what the frames really cost, on every GPU from any', () => {
    const long: Shape = { ...usual, frames: 241 }
    // Twice as many frames take three times as long to sample.
    const past = [0, 1, 2, 3, 4, 5].flatMap((n) => [
      anAttempt(gpu0, 2 * n, 100 + 1_000, { loading: 100 }),
      anAttempt(gpu0, 2 * n + 1, 100 + 3_000, { loading: 100 }, long),
      anAttempt(gpu1, 2 * n, 100 + 500, { loading: 100 }),
    ])
    const model = learn(past, speeds())
    const [short, other] = [usual, long].map((shape) => model.plan(gpu1, shape, false).denoising)
    expect((other?.median ?? 0) / (short?.median ?? 1)).toBeCloseTo(3, 0)
  })

  it('takes a GPU without a past for one of its kind, else for one like all', () => {
    const kinds = new Map([
      [gpu0, 'RTX 4090'],
      [gpu1, 'H100'],
      [gpu2, 'H100'],
    ])
    const past = [
      ...Array.from({ length: 9 }, (_, n) => ({
        ...anAttempt(gpu0, n, 500),
        gpuModel: 'RTX 4090',
      })),
      ...Array.from({ length: 3 }, (_, n) => ({ ...anAttempt(gpu1, n, 100), gpuModel: 'H100' })),
    ]
    expect(gpuSeconds(learn(past, speeds({ kinds })).plan(gpu2, usual, false))).toBeCloseTo(100)
    const unknown = new Map([...kinds, [gpu2, 'something else']])
    const plan = learn(past, speeds({ kinds: unknown })).plan(gpu2, usual, false)
    expect(gpuSeconds(plan)).toBeGreaterThan(100)
    expect(plan.denoising.doubt).toBeGreaterThan(0.3)
  })

  it('begins anew with a GPU that was put in the place of another', () => {
    const kinds = new Map([[gpu0, 'H100']])
    const old = Array.from({ length: 9 }, (_, n) => ({
      ...anAttempt(gpu0, n, 900),
      gpuModel: 'T4',
    }))
    const recent = { ...anAttempt(gpu0, 10, 100), gpuModel: 'H100' }
    const plan = learn([...old, recent], speeds({ kinds })).plan(gpu0, usual, false)
    expect(gpuSeconds(plan)).toBeCloseTo(100, -1)
  })

  it('tells a first load, which reads the model from disk, from those after it', () => {
    const days = [0, 1, 2, 3, 4].flatMap((day) => [
      aTraced(gpu0, day * 24, { encoding: 300 }, 400, 404),
      aTraced(gpu0, day * 24 + 1, { encoding: 60 }, 160, 164),
      aTraced(gpu0, day * 24 + 2, { encoding: 60 }, 160, 164),
    ])
    const model = learn(days, speeds())
    expect(model.plan(gpu0, usual, true).loading.median).toBeCloseTo(300, -2)
    expect(model.plan(gpu0, usual, false).loading.median).toBeCloseTo(60, -1)
    const last = midnight + (4 * 24 + 2) * hour
    expect(model.isCold(last + hour)).toBe(false)
    expect(model.isCold(last + 12 * hour)).toBe(true)
  })

  it('knows that nothing is in memory after the machine was started', () => {
    const past = aPast([gpu0, 100])
    const at = midnight + hour
    expect(learn(past, speeds()).isCold(at)).toBe(false)
    expect(learn(past, speeds({ bootedAt: at - 1_000 })).isCold(at)).toBe(true)
  })

  it('goes by DEFAULT_JOB_S before there is any past, for the usual video', () => {
    const model = learn([], speeds())
    expect(gpuSeconds(model.plan(gpu0, usual, true))).toBeCloseTo(540)
    expect(model.plan(gpu0, { ...usual, steps: 25 }, true).denoising.median).toBeCloseTo(
      model.plan(gpu0, usual, true).denoising.median / 2,
    )
    expect(model.isLearned).toBe(false)
  })

  it.each([
    ['ti2v-5B', 'NVIDIA GeForce RTX 4090', 614.7],
    ['ti2v-5B', 'NVIDIA H100 80GB HBM3', undefined],
    ['t2v-A14B', 'NVIDIA H100 80GB HBM3', 1121.5],
    ['t2v-A14B', undefined, undefined],
  ] as const)('has published figures of %s on %s: %s s', (task, kind, seconds) => {
    expect(publishedSeconds(task, kind)).toBe(seconds)
  })

  it('is of use whatever the past was', () => {
    const time = fc.integer({ min: midnight - 1e9, max: midnight + 1e9 })
    const attempt = fc.record({
      gpu: fc.constantFrom(gpu0, gpu1, gpuId(9)),
      shape: fc.record({
        size: fc.constantFrom('1280x720', '720x1280'),
        frames: fc.integer({ min: 1, max: 300 }),
        steps: fc.integer({ min: 1, max: 200 }),
      }),
      ...{ claimedAt: time, generatedAt: time, endedAt: time },
      began: fc.record(
        { encoding: time, denoising: time, decoding: time, saving: time },
        { requiredKeys: [] },
      ),
    })
    fc.assert(
      fc.property(fc.array(attempt), fc.boolean(), (past, cold) => {
        const model = learn(past as PastAttempt[], speeds())
        for (const gpu of [gpu0, gpu2]) {
          for (const { median, spread, doubt } of Object.values(model.plan(gpu, usual, cold))) {
            expect(median).toBeGreaterThan(0)
            for (const value of [median, spread, doubt]) expect(value).toSatisfy(Number.isFinite)
          }
        }
      }),
    )
  })
})

describe('the outlook of a running job', () => {
  const plan = learn(
    Array.from({ length: 12 }, (_, n) =>
      aTraced(gpu0, n, { encoding: 60, denoising: 70, decoding: 570, saving: 620 }, 622, 626),
    ),
    speeds(),
  ).plan(gpu0, usual, false)
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
  const plan = learn(aPast([gpu0, 600, 5]), speeds()).plan(gpu0, usual, false)
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

describe('an estimate of a waiting job', () => {
  it('is for the default and some seconds of conversion before there is any history', () => {
    const [estimate] = told([], aQueue({ waiting: 1, ready: [gpu0] }))
    expect(estimate).toMatchObject({ source: 'default', progress: 0 })
    expect(estimate?.p50).toBeCloseTo(545)
  })

  it('plays the queue forward over free GPUs, fast and slow', () => {
    const past = aPast([gpu0, 100], [gpu1, 300])
    const queue = aQueue({ waiting: 6, ready: [gpu0, gpu1], gpus: [gpu0, gpu1] })
    expect(etas(past, queue)).toEqual([100, 300, 200, 300, 400, 600])
  })

  it('waits for GPUs that are at work', () => {
    const past = aPast([gpu0, 100], [gpu1, 300])
    const running = [aRunningJob(8), aRunningJob(9, { gpu: gpu1 })]
    const queue = aQueue({ waiting: 2, ready: [gpu0, gpu1], gpus: [gpu0, gpu1], running })
    const [first = 0, second = 0] = etas(past, queue, midnight + 5_000)
    expect(first).toBeCloseTo(195, -1)
    expect(second).toBeCloseTo(295, -1)
  })

  it('does not wait for a conversion, but has its own to come', () => {
    const past = aPast([gpu0, 100, 20])
    const converting = aRunningJob(9, { phase: 'converting', generatedAt: midnight })
    const queue = aQueue({ waiting: 2, ready: [gpu0], gpus: [gpu0], running: [converting] })
    expect(etas(past, queue)).toEqual([120, 220])
  })

  it('goes by what each job is: fewer steps ahead of it, sooner its turn', () => {
    const past = aPast([gpu0, 100])
    const wait = (steps: number) => {
      const jobs = [{ ...aQueuedJob(1), request: aRequest({ steps }) }, aQueuedJob(2)]
      return etas(past, aQueue({ jobs, ready: [gpu0], gpus: [gpu0] }))[1] ?? Number.NaN
    }
    expect(wait(25)).toBeLessThan(wait(50))
  })

  it.each<[string, GpuHealth | undefined, expected: number[]]>([
    ['in order', undefined, [100, 100, 200]],
    ['drained', { drained: true, failures: [] }, [100, 200, 300]],
    ['in quarantine for good', inQuarantine(), [100, 200, 300]],
    ['in quarantine until 00:02:30', inQuarantine(150), [100, 200, 250]],
  ])('knows which GPUs get jobs, and when: the other is %s', (_, health, expected) => {
    const gpuHealth = new Map(health ? [[gpu1, health]] : [])
    const queue = { ...aQueue({ waiting: 3, ready: [gpu0, gpu1], gpus: [gpu0, gpu1] }), gpuHealth }
    expect(etas(aPast([gpu0, 100], [gpu1, 100]), queue)).toEqual(expected)
  })

  it('counts on no GPU that was given up, and soon on one that is being started', () => {
    const past = aPast([gpu0, 100], [gpu1, 100])
    const queue = aQueue({ waiting: 2, ready: [gpu0], gpus: [gpu0, gpu1] })
    expect(etas(past, queue)).toEqual([100, 102])
    expect(etas(past, { ...queue, givenUpGpus: new Set([gpu1]) })).toEqual([100, 200])
  })

  it('is not made when no GPU may ever be given it, or nothing is begun for want of room', () => {
    const queue = aQueue({ waiting: 1, ready: [gpu0], gpus: [gpu0] })
    expect(told([], { ...queue, givenUpGpus: new Set([gpu0]) })).toEqual([undefined])
    expect(told([], { ...queue, hasRoom: false })).toEqual([undefined])
  })

  it('knows that only so many may load at once', () => {
    const past = [0, 1].flatMap((gpu) =>
      Array.from({ length: 5 }, (_, n) => aTraced(gpuId(gpu), n, { encoding: 60 }, 100, 100)),
    )
    const queue = aQueue({ waiting: 2, ready: [gpu0, gpu1], gpus: [gpu0, gpu1] })
    const settings = { ...queue.settings, maxConcurrentLoads: 1 }
    expect(etas(past, { ...queue, settings })).toEqual([100, 160])
  })

  it('comes true when every GPU takes the time it always takes', () => {
    // No sum of some of these equals a sum of others: which GPU is free first is never a matter of luck.
    const known = fc.shuffledSubarray(
      [2, 3, 5, 7].map((n) => 100 * Math.sqrt(n)),
      { minLength: 1 },
    )
    fc.assert(
      fc.property(known, fc.integer({ min: 1, max: 30 }), (known, jobs) => {
        const gpus = known.map((_, index) => gpuId(index))
        const past = aPast(...gpus.map((gpu, index) => [gpu, known[index] ?? 0] as const))
        const queue = aQueue({ waiting: jobs, ready: gpus, gpus })
        const truth = playOut(queue, new Map(gpus.map((gpu, index) => [gpu, known[index] ?? 0])))
        for (const [index, estimate] of told(past, queue).entries()) {
          expect(estimate?.p50).toBeCloseTo(truth.get(jobId(index + 1)) ?? Number.NaN, 1)
        }
      }),
    )
  })

  it('is surer the nearer it is', () => {
    const past = aPast([gpu0, 100], [gpu0, 110], [gpu0, 95])
    const all = told(past, aQueue({ waiting: 10, ready: [gpu0], gpus: [gpu0] }))
    const [first, last] = [all[0], all.at(-1)].map((one) => (one ? one.p90 - one.p10 : 0))
    expect(last).toBeGreaterThan(first ?? 0)
  })
})

describe('any estimate', () => {
  it('is some time, with its middle in its interval, whatever was heard', () => {
    const time = fc.integer({ min: midnight - 1e9, max: midnight + 1e9 })
    const state = fc.record({
      gpu: fc.constantFrom(gpu0, gpu1, gpu2),
      phase: fc.constantFrom('generating' as const, 'converting' as const),
      ...{ claimedAt: time, generatedAt: time },
    })
    const reading = fc.record(
      {
        stage: fc.constantFrom(...stages.slice(0, -1)),
        ...{ step: fc.nat(60), totalSteps: fc.nat(50), steppedAt: time },
        secondsPerStep: fc.double({ min: 0, max: 1e6, noNaN: true }),
        source: fc.constantFrom('events', 'log'),
        began: fc.record({ denoising: time, decoding: time }, { requiredKeys: [] }),
      },
      { requiredKeys: ['stage'] },
    )
    const durations = fc.tuple(fc.constantFrom(gpu0, gpu1, gpu2), seconds, seconds)
    fc.assert(
      fc.property(
        fc.array(durations, { maxLength: 60 }),
        fc.array(fc.tuple(state, fc.option(reading)), { maxLength: 3 }),
        fc.array(time, { minLength: 1, maxLength: 4 }),
        (attempts, runs, times) => {
          const running = runs.map(([state], index) => aRunningJob(100 + index, state))
          const restored = aQueue({ waiting: 5, running, ready: [gpu0, gpu1] })
          const heard = [...restored.running.values()].map((job, index) => {
            const reading = runs[index]?.[1]
            return [job.jobId, (reading ? { ...job, reading } : job) as RunningJob] as const
          })
          const estimator = createEstimator(speeds())
          estimator.remember(aPast(...attempts))
          estimator.see({ ...restored, running: new Map(heard) })
          for (const at of times) {
            estimator.goOn(at)
            for (const id of [1, 5, ...running.map((_, index) => 100 + index)].map(jobId)) {
              const { p10 = -1, p50 = -1, p90 = -1, progress = -1 } = estimator.tell(id, at) ?? {}
              expect(p10).toBeGreaterThan(0)
              expect(p50).toBeGreaterThanOrEqual(p10)
              expect(p90).toBeGreaterThanOrEqual(p50)
              expect(p90 / p50).toBeLessThan(13)
              expect(progress).toBeGreaterThanOrEqual(0)
              expect(progress).toBeLessThan(1)
            }
          }
        },
      ),
    )
  })

  it('says what it rests on', () => {
    const source = (reading?: Reading, past = aPast([gpu0, 100])) => {
      const queue = aQueue({ running: [aRunningJob(1)] })
      const [job] = queue.running.values()
      if (!job) throw new Error('the job runs')
      const running = new Map([[job.jobId, reading ? { ...job, reading } : job]])
      return told(past, { ...queue, running }, midnight, [1])[0]?.source
    }
    expect(source()).toBe('history')
    expect(source(undefined, [])).toBe('default')
    expect(source({ stage: 'loading', source: 'log' })).toBe('log')
    expect(source({ stage: 'loading', source: 'events' })).toBe('events')
  })

  it('is not made of a job that is neither waiting nor running', () => {
    expect(told([], aQueue({ waiting: 1, ready: [gpu0] }), midnight, [5])).toEqual([undefined])
  })

  it('goes on where it was when the service is started again', () => {
    const past = Array.from({ length: 30 }, (_, n) => anAttempt(gpu0, n, 500 + n))
    const claimedAt = midnight + 40 * hour
    const reading: Reading = {
      ...{ stage: 'denoising', step: 20, totalSteps: 50, secondsPerStep: 8 },
      ...{ steppedAt: claimedAt + 200_000, began: { denoising: claimedAt + 40_000 } },
    }
    const restored = aQueue({ running: [aRunningJob(1, { claimedAt })] })
    const [job] = restored.running.values()
    if (!job) throw new Error('the job runs')
    const queue = { ...restored, running: new Map([[job.jobId, { ...job, reading }]]) }
    const now = claimedAt + 201_000
    const before = createEstimator(speeds())
    before.remember(past)
    before.see(queue)
    const first = before.tell(job.jobId, now)
    // Meanwhile others have ended, which took much longer.
    const more = Array.from({ length: 5 }, (_, n) => anAttempt(gpu0, 140 + n / 60, 5_000))
    before.remember(more)
    const after = createEstimator(speeds())
    after.remember([...past, ...more])
    after.see(queue)
    expect(after.tell(job.jobId, now)?.progress).toBe(first?.progress)
  })
})

describe('a forecast', () => {
  it('costs a poll no more when the queue is long: it is read, not played again', () => {
    const estimator = createEstimator(speeds())
    const queue = aQueue({ waiting: 5_000, ready: [gpu0], gpus: [gpu0] })
    let steps = 0
    const counted = { ...queue, waiting: countingTree(queue.waiting, () => steps++) }
    estimator.see(counted)
    playOn(estimator)
    expect(steps).toBeGreaterThanOrEqual(5_000)
    steps = 0
    for (let poll = 0; poll < 100; poll++) estimator.tell(jobId(5_000), midnight + poll)
    expect(steps).toBeLessThan(100 * 40)
  })

  it('takes in new jobs at the end without playing the others again', () => {
    const estimator = createEstimator(speeds())
    const waiting = (jobs: number) => aQueue({ waiting: jobs, ready: [gpu0], gpus: [gpu0] })
    estimator.see(waiting(2_000))
    playOn(estimator)
    const longer = waiting(2_001)
    let steps = 0
    estimator.see({ ...longer, waiting: countingTree(longer.waiting, () => steps++) })
    expect(estimator.tell(jobId(2_001), midnight + 1)?.p50).toBeGreaterThan(0)
    expect(steps).toBeLessThan(100)
  })

  it('of a long queue is made anew in turns, and read as it was meanwhile', () => {
    const estimator = createEstimator(speeds())
    const queue = aQueue({ waiting: 3_500, ready: [gpu0, gpu1], gpus: [gpu0, gpu1] })
    estimator.see(queue)
    playOn(estimator)
    const before = estimator.tell(jobId(3_500), midnight)?.p50 ?? 0
    estimator.see({ ...queue, givenUpGpus: new Set([gpu1]) })
    const later = midnight + 60_000
    expect(estimator.tell(jobId(3_500), later)?.p50).toBeLessThan(before)
    let turns = 0
    while (estimator.goOn(later)) turns += 1
    expect(turns).toBeGreaterThan(1)
    expect(estimator.tell(jobId(3_500), later)?.p50).toBeCloseTo(2 * before, -4)
  })
})

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

describe('the actor of the estimates', () => {
  it('asks to see the queue, and tells it what it has learned from the record', async () => {
    const { queue } = anEtaActor({ past: [anAttempt(gpu0, 0, 100), anAttempt(gpu1, 0, 300)] })
    expect(await queue.next()).toEqual({ type: 'etaReady' })
    const learned = await queue.next()
    if (learned.type !== 'speedsLearned') throw new Error(learned.type)
    expect([...learned.secondsPerJob].map(([gpu, time]) => [gpu, Math.round(time)])).toEqual([
      [gpu0, 100],
      [gpu1, 300],
      [gpu2, Math.round(Math.sqrt(100 * 300))],
    ])
  })

  it('estimates nothing before it has seen the queue', async () => {
    const { estimates } = anEtaActor()
    expect(await estimates(1)).toEqual(new Map())
  })

  it('estimates what it is asked for and can be estimated', async () => {
    const { actor, estimates } = anEtaActor()
    tell(actor.ref, { type: 'queueChanged', queue: aQueue({ waiting: 2, ready: [gpu0] }) })
    expect([...(await estimates(1, 2, 5)).keys()]).toEqual([jobId(1), jobId(2)])
  })

  it('learns from every success', async () => {
    const { actor, queue, estimates } = anEtaActor({ past: [anAttempt(gpu0, 0, 100)] })
    await queue.next()
    await queue.next()
    const gpus = [gpu0]
    tell(actor.ref, { type: 'queueChanged', queue: aQueue({ waiting: 1, ready: gpus, gpus }) })
    expect((await estimates(1)).get(jobId(1))?.p50).toBeCloseTo(100, 0)
    tell(actor.ref, { type: 'attemptSucceeded', attempt: aFinished(9, 400) })
    expect((await queue.next()).type).toBe('speedsLearned')
    tell(actor.ref, { type: 'queueChanged', queue: aQueue({ waiting: 1, ready: gpus, gpus }) })
    await expect.poll(async () => (await estimates(1)).get(jobId(1))?.p50).toBeGreaterThan(150)
  })

  it('estimates without a history that cannot be read', async () => {
    const error = vi.fn()
    const { actor, estimates } = anEtaActor({ past: new Error('no disk'), error })
    const gpus = [gpu0]
    tell(actor.ref, { type: 'queueChanged', queue: aQueue({ waiting: 1, ready: gpus, gpus }) })
    expect((await estimates(1)).get(jobId(1))?.p50).toBeCloseTo(545, 0)
    await expect.poll(() => error.mock.calls.length).toBe(1)
  })

  it('keeps what it told of new jobs, and of running ones when they get to a checkpoint', async () => {
    const { actor, kept } = anEtaActor({ past: [anAttempt(gpu0, 0, 100)] })
    tell(actor.ref, { type: 'queueChanged', queue: aQueue({ waiting: 1, ready: [gpu0] }) })
    tell(actor.ref, { type: 'queueChanged', queue: aQueue({ waiting: 2, ready: [gpu0] }) })
    // That of job 1 was told by somebody before us.
    await expect.poll(kept, { timeout: 5_000 }).toEqual([[jobId(2), 'submit']])
    const claimedAt = Date.now() - 55_000
    const running = [aRunningJob(2, { claimedAt })]
    const steps = { stage: 'denoising', step: 30, totalSteps: 50, steppedAt: Date.now() } as const
    tell(actor.ref, { type: 'queueChanged', queue: withReading(aQueue({ running }), steps) })
    await expect.poll(kept, { timeout: 5_000 }).toEqual([
      [jobId(2), 'submit'],
      [jobId(2), '50'],
    ])
  })

  it('keeps nothing of a second attempt, which nobody could foresee', async () => {
    const { actor, kept } = anEtaActor({ past: [anAttempt(gpu0, 0, 100)] })
    const running = [aRunningJob(1, { claimedAt: Date.now() - 90_000 }, { epoch: 2, attempts: 2 })]
    const queue = withReading(aQueue({ running }), { stage: 'saving' })
    tell(actor.ref, { type: 'queueChanged', queue })
    tell(actor.ref, { type: 'queueChanged', queue: { ...queue, ...newJob(queue, 2) } })
    await expect.poll(kept, { timeout: 5_000 }).toEqual([[jobId(2), 'submit']])
  })

  it('does not mind a store that keeps nothing', async () => {
    const { actor, estimates, warn } = anEtaActor({ record: new Error('disk full') })
    tell(actor.ref, { type: 'queueChanged', queue: aQueue({ ready: [gpu0] }) })
    tell(actor.ref, { type: 'queueChanged', queue: aQueue({ waiting: 1, ready: [gpu0] }) })
    await expect.poll(() => warn.mock.calls.length, { timeout: 5_000 }).toBe(1)
    expect((await estimates(1)).size).toBe(1)
  })

  it('tells how true its estimates have been', async () => {
    const { actor } = anEtaActor({ outcomes: [anOutcome(1, { actual: 110 })] })
    const { jobs, checkpoints } = await ask(actor.ref, { type: 'reviewEstimates' })
    expect(jobs).toBe(1)
    expect(checkpoints['50']?.meanErrorPercent).toBeCloseTo(100 / 11)
  })
})

function anEtaActor({
  past = [],
  outcomes = [],
  record,
  error = () => {},
}: {
  past?: PastAttempt[] | Error
  outcomes?: EstimateOutcome[]
  record?: Error
  error?: (fields: object, phrase: string) => void
} = {}) {
  const queue = createProbe<QueueMessage>('queue')
  const recorded: ToldEstimate[] = []
  const quiet = () => {}
  const warn = vi.fn()
  const history = {
    recent: async () => {
      if (past instanceof Error) throw past
      return past
    },
    outcomes: async () => outcomes,
    record: async (estimates: readonly ToldEstimate[]) => {
      if (record) throw record
      recorded.push(...estimates)
    },
  }
  const log = { debug: quiet, info: quiet, warn, error }
  const actor = anActor(
    'eta',
    etaBehaviour({ history, queue: queue.ref, speeds: speeds(), observe: () => {}, log }),
  )
  return {
    actor,
    queue,
    warn,
    kept: () => recorded.map(({ jobId, checkpoint }) => [jobId, checkpoint]),
    estimates: (...ns: number[]) => ask(actor.ref, { type: 'estimate', jobIds: ns.map(jobId) }),
  }
}

function speeds(wished: Partial<SpeedModelOptions> = {}): SpeedModelOptions {
  return {
    kinds: new Map([gpu0, gpu1, gpu2].map((gpu) => [gpu, undefined])),
    defaults: { usual, seconds: () => 540 },
    bootedAt: 0,
    ...wished,
  }
}

/** Jobs 1 to `waiting` wait. */
function aQueue({
  waiting = 0,
  jobs = Array.from({ length: waiting }, (_, index) => aQueuedJob(index + 1)),
  running = [],
  ready = [],
  gpus = [gpu0, gpu1, gpu2],
}: {
  waiting?: number
  jobs?: Job[]
  running?: Job[]
  ready?: GpuId[]
  gpus?: GpuId[]
}): QueueState {
  const restored = restoreQueue(
    { ...queueSettings, gpus },
    { nextSeq: waiting + 1, waiting: jobs, running, gpus: new Map(), submissions: [] },
  )
  return { ...restored, readyGpus: new Map(ready.map((gpu) => [gpu, `gpu-${gpu}.1`])) }
}

function newJob(queue: QueueState, n: number): Pick<QueueState, 'waiting' | 'seqOf'> {
  const { waiting, seqOf } = aQueue({ jobs: [aQueuedJob(n)] })
  if (get(queue.seqOf, jobId(n))) throw new Error('it is there already')
  return { waiting, seqOf }
}

function withReading(queue: QueueState, reading: Reading): QueueState {
  const running = [...queue.running].map(([id, job]) => [id, { ...job, reading }] as const)
  return { ...queue, running: new Map(running) }
}

function inQuarantine(untilSecond?: number): GpuHealth {
  const until = untilSecond === undefined ? {} : { until: midnight + untilSecond * 1000 }
  const quarantine = { reason: 'failures', since: midnight, strikes: 1, probing: false } as const
  return { drained: false, failures: [], quarantine: { ...quarantine, ...until } }
}

const anAttemptThatRuns = (): RunningAttempt => ({
  phase: 'generating',
  claimedAt: midnight,
  shape: usual,
})

/** Claimed at this hour; where the time went is not known, but for what is said of it. */
function anAttempt(
  gpu: GpuId,
  hours: number,
  generationSeconds: number,
  { loading, converting = 0 }: { loading?: number; converting?: number } = {},
  shape = usual,
): PastAttempt {
  const claimedAt = midnight - 100 * hour + hours * hour
  const generatedAt = claimedAt + generationSeconds * 1000
  const endedAt = generatedAt + converting * 1000
  const began = loading === undefined ? {} : { began: { encoding: claimedAt + loading * 1000 } }
  return { gpu, shape, claimedAt, generatedAt, endedAt, ...began }
}

/** Claimed at this hour after midnight; everything else in seconds after that. */
function aTraced(
  gpu: GpuId,
  hours: number,
  began: Partial<Record<'encoding' | 'denoising' | 'decoding' | 'saving', number>>,
  generated: number,
  ended: number,
): PastAttempt {
  const claimedAt = midnight + hours * hour
  const after = (seconds: number) => claimedAt + seconds * 1000
  const marks = Object.entries(began).map(([stage, seconds]) => [stage, after(seconds)])
  const times = { claimedAt, generatedAt: after(generated), endedAt: after(ended) }
  return { gpu, shape: usual, ...times, began: Object.fromEntries(marks) }
}

/** One after the other, the last an hour ago: how long the generation took, and the conversion. */
const aPast = (...attempts: (readonly [GpuId, number, number?])[]): PastAttempt[] =>
  attempts.map(([gpu, generation, converting = 0], index) => ({
    ...anAttempt(gpu, 99 - (attempts.length - index) * 1e-3, generation, { converting }),
  }))

const aFinished = (n: number, generationSeconds: number): FinishedAttempt => ({
  ...{ jobId: jobId(n), epoch: 1, attempts: 1 },
  ...anAttempt(gpu0, 99.5, generationSeconds),
})

const anOutcome = (n: number, wished: Partial<EstimateOutcome> = {}): EstimateOutcome => ({
  ...{ jobId: jobId(n), checkpoint: '50', at: midnight, source: 'events', gpu: gpu0 },
  ...{ p10: 90, p50: 100, p90: 110, spread: 0.1, actual: 100 },
  ...wished,
})

function told(past: readonly PastAttempt[], queue: QueueState, at = midnight, ns?: number[]) {
  const estimator = createEstimator(speeds())
  estimator.remember(past)
  estimator.see(queue)
  playOn(estimator, at)
  const ids = ns?.map(jobId) ?? [...values(queue.waiting)].map((job) => job.jobId)
  return ids.map((id) => estimator.tell(id, at))
}

function playOn(estimator: ReturnType<typeof createEstimator>, at = midnight): void {
  while (estimator.goOn(at));
}

const etas = (past: readonly PastAttempt[], queue: QueueState, at = midnight) =>
  told(past, queue, at).map((estimate) => Math.round(estimate?.p50 ?? Number.NaN))

type Tree = {
  key: number
  value: unknown
  size: number
  left: Tree | undefined
  right: Tree | undefined
}

/** The same map, which says whenever somebody looks at one of its nodes' values or keys. */
function countingTree<T>(tree: T, onLook: () => void): T {
  const copy = (node: Tree | undefined): Tree | undefined =>
    node && {
      ...{ size: node.size, left: copy(node.left), right: copy(node.right) },
      get key() {
        onLook()
        return node.key
      },
      get value() {
        onLook()
        return node.value
      },
    }
  return copy(tree as Tree | undefined) as T
}

/** When each job's generation ends, by the rules of the queue itself: seconds from midnight. */
function playOut(
  queue: QueueState,
  speeds: ReadonlyMap<GpuId, number>,
): ReadonlyMap<JobId, number> {
  const ends = new Map<JobId, number>()
  const secondsOf = (job: RunningJob) => speeds.get(job.gpu) ?? 0
  let state: QueueState = {
    ...queue,
    settings: { ...queue.settings, maxConcurrentLoads: 1_000 },
  }
  const hear = (message: Parameters<typeof transition>[1], at: number) => {
    ;[state] = transition(state, message, at)
  }
  hear({ type: 'speedsLearned', secondsPerJob: speeds }, 0)
  // All of them were there before: now the jobs are given out.
  hear({ type: 'gpuReady', gpu: gpu0, incarnation: 'the next' }, 0)
  for (;;) {
    const generating = [...state.running.values()].filter(({ phase }) => phase === 'generating')
    const [next] = generating.toSorted(
      (a, b) => a.claimedAt + secondsOf(a) - (b.claimedAt + secondsOf(b)),
    )
    if (!next) return ends
    const end = next.claimedAt + secondsOf(next)
    ends.set(next.jobId, end)
    const { jobId, epoch } = next
    hear({ type: 'generationEnded', result: { how: 'completed' }, jobId, epoch }, end)
  }
}
