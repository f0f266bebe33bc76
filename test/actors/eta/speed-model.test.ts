import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Duration } from '../../../src/actors/eta/duration.ts'
import type { PastAttempt } from '../../../src/actors/eta/eta-ports.ts'
import { publishedSeconds } from '../../../src/actors/eta/published-speeds.ts'
import { type Load, learn, onGpu } from '../../../src/actors/eta/speed-model.ts'
import { type GpuId, type Shape, stages } from '../../../src/domain/job.ts'
import { anAttempt, aPast, aTraced, hour, speeds, usual } from '../../support/eta.ts'
import { gpu0, gpu1, gpu2, gpuId, midnight } from '../../support/jobs.ts'

/** Attempts whose generations were started so, and the seconds that they loaded. */
const startsOf = (
  start: PastAttempt['start'],
  count: number,
  gpu: GpuId,
  loading: number,
): PastAttempt[] =>
  Array.from({ length: count }, () => ({
    ...anAttempt(gpu, 0, loading + 100, { loading }),
    ...(start && { start }),
  }))

/** One after the other, and none of them from disk but the first. */
const inTurn = (attempts: readonly PastAttempt[]): PastAttempt[] =>
  attempts.map(({ claimedAt, generatedAt, endedAt, began, ...rest }, index) => {
    const later = (at: number) => at + index * 1_000_000
    const encoding = began?.encoding === undefined ? {} : { encoding: later(began.encoding) }
    const times = { claimedAt, generatedAt, endedAt }
    const moved = Object.fromEntries(Object.entries(times).map(([name, at]) => [name, later(at)]))
    return { ...rest, ...(moved as typeof times), began: encoding }
  })

describe('the model of speeds', () => {
  const gpuSeconds = (plan: ReturnType<ReturnType<typeof learn>['plan']>) => onGpu(plan).median

  it('has learned what always took the same', () => {
    const model = learn(aPast([gpu0, 100, 20], [gpu1, 300, 20]), speeds())
    expect(gpuSeconds(model.plan(gpu0, usual, 'fromMemory'))).toBeCloseTo(100)
    expect(gpuSeconds(model.plan(gpu1, usual, 'fromMemory'))).toBeCloseTo(300)
    expect(model.plan(gpu0, usual, 'fromMemory').converting.median).toBeCloseTo(20)
  })

  it('knows each stage by itself where it was seen', () => {
    const began = { encoding: 30, denoising: 40, decoding: 80, saving: 95 }
    const past = Array.from({ length: 5 }, (_, n) => aTraced(gpu0, n, began, 100, 104))
    const plan = learn(past, speeds()).plan(gpu0, usual, 'fromMemory')
    const medians = stages.map((stage) => Math.round(plan[stage].median))
    expect(medians).toEqual([30, 10, 40, 15, 5, 4])
  })

  it('shares the time of stages that nobody saw out among them', () => {
    const past = Array.from({ length: 5 }, (_, n) => aTraced(gpu0, n, { denoising: 40 }, 100, 104))
    const plan = learn(past, speeds()).plan(gpu0, usual, 'fromMemory')
    expect(plan.loading.median + plan.encoding.median).toBeCloseTo(40)
    expect(plan.denoising.median + plan.decoding.median + plan.saving.median).toBeCloseTo(60)
  })

  it('is not moved by an outlier', () => {
    const past = aPast(...Array.from({ length: 9 }, () => [gpu0, 100] as const), [gpu0, 5_000])
    const plan = learn(past, speeds()).plan(gpu0, usual, 'fromMemory')
    expect(gpuSeconds(plan)).toBeLessThan(105)
  })

  it('goes with the times: what was long ago counts little', () => {
    const before = Array.from({ length: 40 }, () => [gpu0, 100] as const)
    const since = Array.from({ length: 12 }, () => [gpu0, 150] as const)
    const plan = learn(aPast(...before, ...since), speeds()).plan(gpu0, usual, 'fromMemory')
    expect(gpuSeconds(plan)).toBeCloseTo(150, 0)
  })

  it('scales what it has never seen by frames and steps', () => {
    const model = learn(aPast([gpu0, 1_000], [gpu0, 1_000]), speeds())
    const [all, half] = [usual, { ...usual, steps: 25 }].map((shape) =>
      model.plan(gpu0, shape, 'fromMemory'),
    )
    expect(half?.denoising.median).toBeCloseTo((all?.denoising.median ?? 0) / 2)
    expect(half?.loading).toEqual(all?.loading)
    const longer = model.plan(gpu0, { ...usual, frames: 241 }, 'fromMemory')
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
    const [short, other] = [usual, long].map(
      (shape) => model.plan(gpu1, shape, 'fromMemory').denoising,
    )
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
    expect(gpuSeconds(learn(past, speeds({ kinds })).plan(gpu2, usual, 'fromMemory'))).toBeCloseTo(
      100,
    )
    const unknown = new Map([...kinds, [gpu2, 'something else']])
    const plan = learn(past, speeds({ kinds: unknown })).plan(gpu2, usual, 'fromMemory')
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
    const plan = learn([...old, recent], speeds({ kinds })).plan(gpu0, usual, 'fromMemory')
    expect(gpuSeconds(plan)).toBeCloseTo(100, -1)
  })

  it('tells a first load, which reads the model from disk, from those after it', () => {
    const days = [0, 1, 2, 3, 4].flatMap((day) => [
      aTraced(gpu0, day * 24, { encoding: 300 }, 400, 404),
      aTraced(gpu0, day * 24 + 1, { encoding: 60 }, 160, 164),
      aTraced(gpu0, day * 24 + 2, { encoding: 60 }, 160, 164),
    ])
    const model = learn(days, speeds())
    expect(model.plan(gpu0, usual, 'fromDisk').loading.median).toBeCloseTo(300, -2)
    expect(model.plan(gpu0, usual, 'fromMemory').loading.median).toBeCloseTo(60, -1)
    const last = midnight + (4 * 24 + 2) * hour
    expect(model.isCold(last + hour)).toBe(false)
    expect(model.isCold(last + 12 * hour)).toBe(true)
  })

  const load = (
    past: readonly PastAttempt[],
    kind: Load,
    gpu: GpuId = gpu0,
    wished: Parameters<typeof speeds>[0] = {},
  ) => learn(past, speeds(wished)).plan(gpu, usual, kind).loading

  it('tells the loads of warm starts from those of cold ones, on each GPU', () => {
    const seconds = fc.integer({ min: 1, max: 600 })
    const some = fc.integer({ min: 6, max: 120 })
    fc.assert(
      fc.property(
        fc.record({ cold: seconds, warm: seconds, other: seconds }),
        fc.record({ cold: some, warm: some }),
        fc.boolean(),
        (took, many, warmLast) => {
          const cold = startsOf('cold', many.cold, gpu0, took.cold)
          const warm = startsOf('warm', many.warm, gpu0, took.warm)
          const others = startsOf('warm', many.warm, gpu1, took.other)
          const past = inTurn(
            warmLast ? [...cold, ...warm, ...others] : [...warm, ...others, ...cold],
          )
          const offBy = (told: Duration, real: number) => Math.abs(told.median / real - 1)
          expect(offBy(load(past, 'fromMemory'), took.cold)).toBeLessThan(0.1)
          expect(offBy(load(past, 'forked'), took.warm)).toBeLessThan(0.1)
          expect(offBy(load(past, 'forked', gpu1), took.other)).toBeLessThan(0.1)
        },
      ),
      { numRuns: 40 },
    )
  })

  it('expects of the first warm start a part of a cold load, and is not sure of it', () => {
    const past = inTurn(startsOf('cold', 9, gpu0, 80))
    expect(load(past, 'forked').median).toBeCloseTo(12, 0)
    expect(load(past, 'forked').doubt).toBeGreaterThan(load(past, 'fromMemory').doubt + 0.3)
    const warm = inTurn(startsOf('warm', 9, gpu0, 12))
    expect(load(warm, 'fromMemory').median).toBeCloseTo(80, 0)
    expect(load([], 'forked').median).toBeCloseTo(0.15 * load([], 'fromMemory').median)
  })

  it('takes a GPU that was never started warm for one like the others', () => {
    const past = inTurn([...startsOf('warm', 9, gpu1, 20), ...startsOf('cold', 9, gpu0, 80)])
    expect(load(past, 'forked').median).toBeGreaterThan(5)
    expect(load(past, 'forked').median).toBeLessThan(80)
  })

  it('takes attempts of earlier versions for cold ones', () => {
    const past = inTurn(startsOf(undefined, 9, gpu0, 80))
    expect(load(past, 'fromMemory').median).toBeCloseTo(80, 0)
  })

  it('knows that nothing is in memory after the machine was started', () => {
    const past = aPast([gpu0, 100])
    const at = midnight + hour
    expect(learn(past, speeds()).isCold(at)).toBe(false)
    expect(learn(past, speeds({ bootedAt: at - 1_000 })).isCold(at)).toBe(true)
  })

  it('goes by DEFAULT_JOB_S before there is any past, for the usual video', () => {
    const model = learn([], speeds())
    expect(gpuSeconds(model.plan(gpu0, usual, 'fromDisk'))).toBeCloseTo(540)
    expect(model.plan(gpu0, { ...usual, steps: 25 }, 'fromDisk').denoising.median).toBeCloseTo(
      model.plan(gpu0, usual, 'fromDisk').denoising.median / 2,
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
    const aLoad = fc.constantFrom<Load>('fromDisk', 'fromMemory', 'forked')
    const attempt = fc.record({
      gpu: fc.constantFrom(gpu0, gpu1, gpuId(9)),
      shape: fc.record({
        size: fc.constantFrom('1280x720', '720x1280'),
        frames: fc.integer({ min: 1, max: 300 }),
        steps: fc.integer({ min: 1, max: 200 }),
      }),
      start: fc.constantFrom('warm', 'cold', undefined),
      ...{ claimedAt: time, generatedAt: time, endedAt: time },
      began: fc.record(
        { encoding: time, denoising: time, decoding: time, saving: time },
        { requiredKeys: [] },
      ),
    })
    fc.assert(
      fc.property(fc.array(attempt), aLoad, (past, load) => {
        const model = learn(past as PastAttempt[], speeds())
        for (const gpu of [gpu0, gpu2]) {
          for (const { median, spread, doubt } of Object.values(model.plan(gpu, usual, load))) {
            expect(median).toBeGreaterThan(0)
            for (const value of [median, spread, doubt]) expect(value).toSatisfy(Number.isFinite)
          }
        }
      }),
    )
  })
})
