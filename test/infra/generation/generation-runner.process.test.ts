import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { root } from '../../../src/config/root.ts'
import { type Reading, stages, type Timestamp } from '../../../src/domain/job.ts'
import { aGpu } from '../../support/gpu.ts'

const position = ({ stage, step = 0 }: Reading) => stages.indexOf(stage) + step / 1000

function expectSane(readings: readonly Reading[], startedAt: Timestamp): void {
  const positions = readings.map(position)
  expect(positions).toEqual(positions.toSorted((a, b) => a - b))
  for (const { began = {}, steppedAt, secondsPerStep } of readings) {
    const times = [...Object.values(began), ...(steppedAt ? [steppedAt] : [])]
    expect(Math.min(...times)).toBe(startedAt)
    expect(Math.max(...times)).toBeLessThanOrEqual(Date.now())
    expect(Object.values(began)).toEqual(Object.values(began).toSorted((a, b) => a - b))
    expect(secondsPerStep ?? 1).toBeGreaterThan(0)
  }
}

/** What it takes to say when the job will be done, and hardly changes while it is read again. */
const slow = 'a fox [sim:step=0.4]'

describe('a generation of a checkout that the launcher does not know', () => {
  it('is reported once, also when it is adopted', async () => {
    const wanDir = mkdtempSync(join(tmpdir(), 'checkout-'))
    onTestFinished(() => rmSync(wanDir, { recursive: true }))
    cpSync(join(root, 'sim'), wanDir, { recursive: true })
    const t5 = join(wanDir, 'wan/modules/t5.py')
    writeFileSync(t5, readFileSync(t5, 'utf8').replace('encoder_only=True', 'encoder_only=False'))
    const observe = vi.fn()
    const warn = vi.fn()
    const log = { debug() {}, info() {}, warn, error() {} }
    const gpu = aGpu({ wanDir, observe, log })
    const order = gpu.orderFor('a fox [sim:hang-step]')
    const first = gpu.start(order)
    await first.until(({ step }) => step === 3)
    first.handle.detach()

    const second = gpu.adopt(order)
    await second.until(({ step }) => step === 3)
    second.handle.stop('canceled', 0)
    await second.end()
    expect(observe.mock.calls).toEqual([[{ saw: 'launcherFellBack', part: 'fast_load' }]])
    expect(warn.mock.calls).toEqual([
      [
        expect.objectContaining({
          ...{ jobId: order.jobId, part: 'fast_load' },
          why: 'Unexpected: umt5_xxl is called with other arguments',
        }),
        'a part of the launcher cannot do its work; the script goes its own way',
      ],
    ])
  })
})

describe('the readings of a generation', () => {
  it('are told by events, with all their times and the memory of the GPU', async () => {
    const gpu = aGpu()
    const order = gpu.orderFor(slow)
    const run = gpu.start(order)
    await run.end()

    expect(run.result()).toEqual({ how: 'completed' })
    expectSane(run.readings, run.startedAt())
    const sampling = run.readings.filter(({ step = 0 }) => step > 0)
    expect(new Set(sampling.map(({ source }) => source))).toEqual(new Set(['events']))
    expect(sampling.at(-1)?.secondsPerStep).toBeCloseTo(0.4, 1)
    expect(run.latest()).toMatchObject({ stage: 'saving', peakVramBytes: expect.any(Number) })
    const [first = '', ...others] = stages.slice(0, 5)
    expect(Object.keys(run.latest()?.began ?? {})).toEqual([first, 'imported', ...others])
    expect(gpu.eventsOf(order)).not.toContain('fallback')
  })

  it.each([
    ['a checkout is another than the launcher knows', true, `${slow}[sim:other-checkout]`],
    ['there is no launcher', false, slow],
  ])('are told by the output where %s', async (_case, launcher, prompt) => {
    const run = aGpu({ launcher }).start(aGpu().orderFor(prompt))
    await run.end()

    expect(run.result()).toEqual({ how: 'completed' })
    expectSane(run.readings, run.startedAt())
    const sampling = run.readings.filter(({ step = 0 }) => step > 0)
    expect(new Set(sampling.map(({ source }) => source))).toEqual(new Set(['log']))
    expect(sampling.at(-1)?.secondsPerStep).toBeCloseTo(0.4, 1)
    expect(run.latest()).toMatchObject({ stage: 'saving', source: 'log' })
    expect(Object.keys(run.latest()?.began ?? {})).toEqual(stages.slice(0, 5))
  })

  it('have their steps from events where no bar is drawn', async () => {
    const gpu = aGpu()
    const run = gpu.start(gpu.orderFor(`${slow}[sim:no-bar]`))
    await run.until(({ source, stage }) => source === 'events' && stage === 'denoising')
    await run.end()
    expect(run.result()).toEqual({ how: 'completed' })
  })

  it.each([
    ['events', true, 2],
    ['log', false, 700],
  ])('are as they were for whoever adopts it: %s', async (source, launcher, withinMs) => {
    const gpu = aGpu({ launcher })
    const order = gpu.orderFor('a fox [sim:step=0.4][sim:hang-step]')
    const first = gpu.start(order)
    await first.until(({ step }) => step === 3)
    first.handle.detach()
    const before = first.latest() as Reading

    const second = gpu.adopt(order)
    await second.until(({ step }) => step === 3)
    const after = second.latest() as Reading
    expectSane(second.readings, first.startedAt())
    expect(second.startedAt()).toBe(first.startedAt())
    expect(after).toMatchObject({ source, stage: 'denoising', step: 3, totalSteps: 6 })
    expect(after.began?.encoding).toBe(before.began?.encoding)
    for (const [then = 0, now = 0] of [
      [before.began?.denoising, after.began?.denoising],
      [before.steppedAt, after.steppedAt],
    ]) {
      expect(Math.abs(now - then)).toBeLessThan(withinMs)
    }
    expect(after.secondsPerStep).toBeCloseTo(before.secondsPerStep ?? 0, 1)
    second.handle.stop('canceled', 0)
    await second.end()
  })
})
