import { describe, expect, it } from 'vitest'
import { tell } from '../../../src/actors/actor.ts'
import { conversionBehaviour } from '../../../src/actors/conversion/conversion-actor.ts'
import type {
  Conversion,
  ConversionOutput,
  SourceVideo,
} from '../../../src/actors/conversion/conversion-ports.ts'
import type {
  ConversionCommand,
  ConversionEffect,
  ConversionNews,
  ConversionReport,
  ConversionState,
} from '../../../src/actors/conversion/conversion-protocol.ts'
import {
  judgeSource,
  maxFaults,
  transition,
} from '../../../src/actors/conversion/conversion-transition.ts'
import type { QueueMessage } from '../../../src/actors/queue/queue-protocol.ts'
import type { Failure, VideoFacts } from '../../../src/domain/job.ts'
import { createFakeVideoTools, type FakeStep } from '../../support/fake-video-tools.ts'
import { anActor, aRequest, aSource, aVideo, jobId } from '../../support/jobs.ts'
import { createProbe } from '../../support/probe.ts'

const task = 'ti2v-5B'

const attempt = (n: number) => ({ jobId: jobId(n), epoch: 1 })
const output = (n: number): ConversionOutput => ({ ...attempt(n), filename: `video-${n}.mp4` })
const conversion = (n: number): Conversion => ({ ...output(n), request: aRequest() })
const withdraw = (n: number): ConversionEffect => ({ do: 'withdraw', output: output(n) })
const readable = (facts: Partial<VideoFacts> = {}): Extract<SourceVideo, { how: 'readable' }> => ({
  how: 'readable',
  facts: aSource(facts),
})
const report = (report: ConversionReport): ConversionEffect => ({ do: 'report', report })
const failed = (code: Failure['code']) =>
  report({
    type: 'conversionFailed',
    ...attempt(1),
    failure: { code, message: expect.any(String) },
  })

describe('a conversion', () => {
  it('inspects, encodes and publishes, and then tells that it is done', () => {
    const converter = aConverter()
    expect(converter.converts(1)).toEqual([{ do: 'inspect', conversion: conversion(1) }])
    expect(converter.hears('inspected', 1, { source: readable() })).toEqual([
      { do: 'encode', conversion: conversion(1), source: aSource() },
    ])
    expect(converter.hears('encoded', 1, { video: aVideo() })).toEqual([
      { do: 'publish', conversion: conversion(1) },
    ])
    expect(converter.hears('published', 1)).toEqual([
      report({ type: 'converted', ...attempt(1), video: aVideo() }),
    ])
    expect(converter.steps()).toEqual([])
  })

  it('that is asked for twice is done once', () => {
    const converter = aConverter()
    for (const step of ['inspecting', 'encoding', 'publishing']) {
      if (step === 'inspecting') converter.converts(1)
      if (step === 'encoding') converter.hears('inspected', 1, { source: readable() })
      if (step === 'publishing') converter.hears('encoded', 1, { video: aVideo() })
      expect(converter.converts(1)).toEqual([])
      expect(converter.steps()).toEqual([step])
    }
  })

  it('that has ended repeats its report when an order for it arrives late', () => {
    const converter = aConverter()
    converter.isAt('publishing', 1)
    const end = converter.hears('published', 1)
    expect(end).toEqual([report({ type: 'converted', ...attempt(1), video: aVideo() })])
    expect(converter.converts(1)).toEqual(end)
    converter.converts(2)
    converter.hears('inspected', 2, { source: { how: 'missing' } })
    const failure = converter.hears('withdrawn', 2)
    expect(failure).toMatchObject([{ report: { type: 'conversionFailed' } }])
    expect(converter.converts(2)).toEqual(failure)
    expect(converter.aborts(1)).toEqual([withdraw(1)])
    const aborted = converter.hears('withdrawn', 1)
    expect(converter.converts(1)).toEqual(aborted)
  })

  it('of another epoch of the same job is another one', () => {
    const converter = aConverter({ limit: 2 })
    converter.converts(1)
    const newer = { ...conversion(1), epoch: 2 }
    expect(converter.tell({ type: 'convert', ...newer })).toEqual([
      { do: 'inspect', conversion: newer },
    ])
  })

  it('fails without a video to convert, and leaves nothing behind', () => {
    const converter = aConverter()
    converter.converts(1)
    expect(converter.hears('inspected', 1, { source: { how: 'missing' } })).toEqual([withdraw(1)])
    expect(converter.hears('withdrawn', 1)).toEqual([failed('no_output')])
    expect(converter.steps()).toEqual([])
  })

  it.each<[what: string, facts: Partial<VideoFacts>]>([
    ['frames are missing', { frames: 120 }],
    ['frames are too many', { frames: 122 }],
    ['it is as large as its source', { height: 704 }],
    ['it is not as wide as asked for', { width: 1278 }],
  ])('fails when %s in what it made', (_what, facts) => {
    const converter = aConverter()
    converter.converts(1)
    converter.hears('inspected', 1, { source: readable() })
    expect(converter.hears('encoded', 1, { video: aVideo(facts) })).toEqual([withdraw(1)])
    expect(converter.hears('withdrawn', 1)).toEqual([failed('conversion_failed')])
  })

  it.each(['inspecting', 'encoding', 'publishing'])('fails when %s fails, saying why', (step) => {
    const converter = aConverter()
    converter.isAt(step, 1)
    expect(converter.hears('stepFailed', 1, { why: 'ffmpeg is away', killed: false })).toEqual([
      withdraw(1),
    ])
    expect(converter.hears('withdrawn', 1)).toEqual([
      report({
        type: 'conversionFailed',
        ...attempt(1),
        failure: { code: 'conversion_failed', message: 'ffmpeg is away' },
      }),
    ])
    expect(converter.steps()).toEqual([])
  })

  it.each<ConversionNews>([
    { type: 'inspected', ...attempt(2), source: readable() },
    { type: 'encoded', ...attempt(2), video: aVideo() },
    { type: 'published', ...attempt(2) },
    { type: 'stepFailed', ...attempt(2), why: 'late', killed: false },
    { type: 'stepFailed', jobId: jobId(1), epoch: 2, why: 'of another epoch', killed: false },
  ])('takes no notice of news about another: $type', (news) => {
    const converter = aConverter()
    converter.converts(1)
    const before = converter.state()
    expect(converter.tell(news)).toEqual([])
    expect(converter.state()).toBe(before)
  })
})

describe('a conversion without the files of its generation', () => {
  it('is lost, and the queue is told when nothing of it is left', () => {
    const converter = aConverter()
    converter.converts(1)
    expect(converter.hears('inspected', 1, { source: { how: 'lost' } })).toEqual([withdraw(1)])
    expect(converter.hears('withdrawn', 1)).toEqual([
      report({ type: 'conversionLost', ...attempt(1) }),
    ])
  })

  it('takes the finished file of the job that is there already', () => {
    const converter = aConverter()
    converter.converts(1)
    const source = { how: 'published', facts: aVideo() } as const
    expect(converter.hears('inspected', 1, { source })).toEqual([
      report({ type: 'converted', ...attempt(1), video: aVideo() }),
    ])
  })

  it('is lost when that file is not whole', () => {
    const converter = aConverter()
    converter.converts(1)
    const source = { how: 'published', facts: aVideo({ frames: 7 }) } as const
    expect(converter.hears('inspected', 1, { source })).toEqual([withdraw(1)])
  })
})

describe('an aborted conversion', () => {
  const aborted = report({ type: 'conversionAborted', ...attempt(1) })

  it('that this incarnation knows nothing of is told to be gone when its files are', () => {
    const converter = aConverter()
    expect(converter.aborts(1)).toEqual([withdraw(1)])
    expect(converter.aborts(1)).toEqual([])
    expect(converter.hears('withdrawn', 1)).toEqual([aborted])
    converter.converts(2)
    const older = { jobId: jobId(2), epoch: 0, filename: 'video-2.mp4' }
    expect(converter.tell({ type: 'abort', ...older })).toEqual([{ do: 'withdraw', output: older }])
    expect(converter.steps()).toEqual(['inspecting'])
  })

  it('that waits for its turn is gone at once', () => {
    const converter = aConverter({ limit: 1 })
    converter.converts(2)
    converter.converts(1)
    expect(converter.aborts(1)).toEqual([withdraw(1)])
    expect(converter.hears('withdrawn', 1)).toEqual([aborted])
    expect(converter.steps()).toEqual(['inspecting'])
  })

  it.each(['inspecting', 'encoding', 'publishing'])(
    'is interrupted while %s, and told to be gone when that has ended',
    (step) => {
      for (const end of ['well', 'in failure'] as const) {
        const converter = aConverter()
        converter.isAt(step, 1)
        expect(converter.aborts(1)).toEqual([{ do: 'interrupt', attempt: attempt(1) }])
        const effects =
          end === 'well'
            ? converter.endsStep(1)
            : converter.hears('stepFailed', 1, { why: 'aborted', killed: false })
        // It may have been published: now, or by a previous run that was killed.
        expect(effects).toEqual([withdraw(1)])
        expect(converter.converts(1)).toEqual([])
        expect(converter.hears('withdrawn', 1)).toEqual([aborted])
        expect(converter.steps()).toEqual([])
      }
    },
  )
})

describe('a conversion that somebody kills', () => {
  it('is made anew from the file of its generation, but not for ever', () => {
    const converter = aConverter()
    converter.isAt('encoding', 1)
    for (let kill = 1; kill <= 100; kill++) {
      expect(startsIn(converter.hears('stepFailed', 1, { why: 'SIGKILL', killed: true }))).toEqual([
        1,
      ])
    }
    const effects = converter.hears('stepFailed', 1, { why: 'SIGKILL', killed: true })
    expect(effects).toEqual([withdraw(1)])
    expect(converter.steps()).toEqual([])
  })
})

describe('a conversion that the environment fails', () => {
  const fails = { why: 'spawn EAGAIN', killed: false, fault: 'resources_exhausted' } as const

  it.each(['inspecting', 'encoding', 'publishing'])(
    'while %s is tried again after a pause',
    (step) => {
      const converter = aConverter()
      converter.isAt(step, 1)
      const pauses = [1, 2, 3, 4, 5, 6, 7].map(() => {
        const effects = converter.hears('stepFailed', 1, fails)
        expect(converter.steps()).toEqual(['pausing'])
        expect(startsIn(converter.hears('retryDue', 1, {}))).toEqual([1])
        return effects.flatMap((effect) => (effect.do === 'retryLater' ? [effect.afterMs] : []))[0]
      })
      expect(pauses).toEqual([500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000])
      while (converter.steps().length > 0) converter.endsStep(1)
    },
  )

  it('says so once, and lets others have its turn', () => {
    const converter = aConverter({ limit: 1 })
    converter.converts(1)
    converter.converts(2)
    const effects = converter.hears('stepFailed', 1, fails)
    expect(startsIn(effects)).toEqual([2])
    expect(effects.filter((effect) => effect.do === 'logFault')).toHaveLength(1)
    expect(startsIn(converter.hears('retryDue', 1, {}))).toEqual([])
    expect(converter.steps()).toEqual(['waiting', 'inspecting'])
  })

  it('is aborted at once during its pause', () => {
    const converter = aConverter()
    converter.converts(1)
    converter.hears('stepFailed', 1, fails)
    expect(converter.aborts(1)).toEqual([withdraw(1)])
    expect(converter.hears('retryDue', 1, {})).toEqual([])
    expect(converter.hears('withdrawn', 1)).toEqual([
      report({ type: 'conversionAborted', ...attempt(1) }),
    ])
  })

  it('is given to the judgement of the queue after half an hour', () => {
    const converter = aConverter()
    converter.converts(1)
    for (let n = 1; n <= maxFaults; n++) {
      converter.hears('stepFailed', 1, fails)
      converter.hears('retryDue', 1, {})
    }
    expect(converter.hears('stepFailed', 1, fails)).toEqual([withdraw(1)])
    expect(converter.hears('withdrawn', 1)).toEqual([
      report({
        type: 'conversionFailed',
        ...attempt(1),
        failure: { code: 'resources_exhausted', message: 'spawn EAGAIN' },
      }),
    ])
  })
})

describe('the converter', () => {
  it('works on so many at once, and on the others in the order they came', () => {
    const converter = aConverter({ limit: 2 })
    expect([1, 2, 3, 4].flatMap((n) => startsIn(converter.converts(n)))).toEqual([1, 2])
    expect(converter.steps()).toEqual(['inspecting', 'inspecting', 'waiting', 'waiting'])

    const next = converter.hears('stepFailed', 2, { why: 'any', killed: false })
    expect(startsIn(next)).toEqual([3])
    converter.aborts(1)
    expect(startsIn(converter.hears('stepFailed', 1, { why: 'aborted', killed: false }))).toEqual([
      4,
    ])
    expect(converter.steps()).toEqual(['inspecting', 'inspecting'])
  })

  it('counts all steps as work', () => {
    const converter = aConverter({ limit: 1 })
    converter.isAt('publishing', 1)
    expect(startsIn(converter.converts(2))).toEqual([])
    expect(startsIn(converter.hears('published', 1))).toEqual([2])
  })

  it('does not count what is only waiting and aborted', () => {
    const converter = aConverter({ limit: 1 })
    for (const n of [1, 2, 3]) converter.converts(n)
    expect(startsIn(converter.aborts(2))).toEqual([])
    expect(startsIn(converter.hears('stepFailed', 1, { why: 'any', killed: false }))).toEqual([3])
  })

  it('announces itself', () => {
    expect(aConverter().tell({ type: 'announce' })).toEqual([report({ type: 'conversionReady' })])
  })
})

describe('what a generation leaves', () => {
  const judge = (
    source: Parameters<typeof judgeSource>[2],
    size: '1280x720' | '720x1280' = '1280x720',
  ) => judgeSource(task, aRequest({ size }), source)

  it('is good when it is as large and long as asked for', () => {
    expect(judge(readable())).toEqual(aSource())
    const upright = { width: 704, height: 1280 }
    expect(judge(readable(upright), '720x1280')).toEqual(aSource(upright))
  })

  it.each<[code: Failure['code'], what: string, source: Parameters<typeof judgeSource>[2]]>([
    ['no_output', 'there is no file', { how: 'missing' }],
    ['truncated_output', 'ffprobe cannot read it', { how: 'unreadable', why: 'no moov atom' }],
    ['truncated_output', 'frames are missing', readable({ frames: 120 })],
    ['truncated_output', 'there is no frame', readable({ frames: 0 })],
    [
      'truncated_output',
      'frames are missing and it is too small',
      readable({ frames: 1, width: 64 }),
    ],
    ['unexpected_output', 'frames are too many', readable({ frames: 122 })],
    ['unexpected_output', 'it is too high', readable({ height: 720 })],
    ['unexpected_output', 'it is too narrow', readable({ width: 704 })],
    ['unexpected_output', 'it lies on its side', readable({ width: 704, height: 1280 })],
  ])('is %s when %s', (code, _what, source) => {
    expect(judge(source)).toEqual({ code, message: expect.any(String) })
  })

  it('is judged by what its task makes', () => {
    const full = readable({ height: 720 })
    expect(judgeSource('t2v-A14B', aRequest(), full)).toEqual(aVideo())
    expect(judgeSource('t2v-A14B', aRequest(), readable())).toMatchObject({
      code: 'unexpected_output',
    })
  })

  it.each([
    [1152, 768, 'ti2v-5B', true],
    [640, 1344, 'ti2v-5B', true],
    [1280, 720, 'ti2v-5B', false],
    [576, 384, 'ti2v-5B', false],
    [1168, 784, 'i2v-A14B', true],
  ] as const)('of an image may be %ix%i by %s: %s', (width, height, task, fits) => {
    const image = { type: 'png', width: 900, height: 600, bytes: 1, sha256: 'x' } as const
    const verdict = judgeSource(task, { ...aRequest(), image }, readable({ width, height }))
    expect('code' in verdict ? verdict.code : 'fits').toBe(fits ? 'fits' : 'unexpected_output')
  })

  it('is described in the failure', () => {
    expect(judge(readable({ frames: 7 }))).toMatchObject({
      message: expect.stringContaining('7 frames where 121 were asked for'),
    })
    expect(judge(readable({ height: 720 }))).toMatchObject({
      message: expect.stringContaining('121 frames of 1280x720 where 121 frames of 1280x704'),
    })
    expect(judge({ how: 'unreadable', why: 'no moov atom' })).toMatchObject({
      message: expect.stringContaining('no moov atom'),
    })
  })
})

describe('the actor of the converter', () => {
  it('tells the queue that it is there', async () => {
    const { queue } = aConversionActor()
    expect(await queue.next()).toEqual({ type: 'conversionReady' })
  })

  it('takes a video through its steps and tells the queue of its end', async () => {
    const { actor, queue, step } = aConversionActor()
    await queue.next()
    tell(actor.ref, { type: 'convert', ...conversion(1) })
    ;(await step('inspect', 1)).succeeds(readable())
    const encode = await step('encode', 1)
    expect(encode.source).toEqual(aSource())
    encode.succeeds(aVideo())
    ;(await step('publish', 1)).succeeds()
    expect(await queue.next()).toEqual({ type: 'converted', ...attempt(1), video: aVideo() })
  })

  it.each([
    ['inspect', new Error('ffprobe is away'), 'ffprobe is away'],
    ['encode', new Error('ffmpeg is away'), 'ffmpeg is away'],
    ['publish', 'no room', 'no room'],
  ] as const)('tells the queue why when it cannot %s', async (failing, error, message) => {
    const { actor, queue, step } = aConversionActor()
    await queue.next()
    tell(actor.ref, { type: 'convert', ...conversion(1) })
    for (const name of ['inspect', 'encode', 'publish'] as const) {
      const taken = await step(name, 1)
      if (name === failing) {
        taken.fails(error)
        break
      }
      taken.succeeds(name === 'inspect' ? readable() : aVideo())
    }
    const withdrawal = await step('withdraw', 1)
    expect(queue.told).toEqual([])
    withdrawal.fails(new Error('and nobody can do anything about it'))
    const failure = { code: 'conversion_failed', message }
    expect(await queue.next()).toEqual({ type: 'conversionFailed', ...attempt(1), failure })
  })

  it('interrupts the encoding that is aborted, and no other', async () => {
    const { actor, queue, step } = aConversionActor({ limit: 2 })
    await queue.next()
    for (const n of [1, 2]) {
      tell(actor.ref, { type: 'convert', ...conversion(n) })
      ;(await step('inspect', n)).succeeds(readable())
    }
    const [first, second] = [await step('encode', 1), await step('encode', 2)]
    tell(actor.ref, { type: 'abort', ...output(1) })
    await expect.poll(() => first.signal?.aborted).toBe(true)
    expect(second.signal?.aborted).toBe(false)

    first.fails(new Error('aborted'))
    ;(await step('withdraw', 1)).succeeds()
    expect(await queue.next()).toEqual({ type: 'conversionAborted', ...attempt(1) })
  })

  it.each(['stop', 'kill'] as const)('interrupts everything at its %s', async (how) => {
    const { actor, queue, step } = aConversionActor({ limit: 2 })
    await queue.next()
    for (const n of [1, 2]) {
      tell(actor.ref, { type: 'convert', ...conversion(n) })
      ;(await step('inspect', n)).succeeds(readable())
    }
    ;(await step('encode', 2)).succeeds(aVideo())
    const steps = [await step('encode', 1), await step('publish', 2)]
    actor[how]()
    await expect.poll(() => steps.map(({ signal }) => signal?.aborted)).toEqual([true, true])
    expect(queue.told).toEqual([])
  })
})

/** The converter's rules with the state kept; each word answers with the effects. */
function aConverter({ limit = 1 } = {}) {
  let state: ConversionState = { active: [], ending: [], ended: [], limit }

  function tell(message: ConversionCommand | ConversionNews): readonly ConversionEffect[] {
    const [next, effects] = transition(task, state, message)
    state = next
    return effects
  }

  type Details<Type> = Omit<Extract<ConversionNews, { type: Type }>, 'type' | 'jobId' | 'epoch'>
  const hears = <Type extends ConversionNews['type']>(
    type: Type,
    n: number,
    details?: Details<Type>,
  ) => tell({ type, ...attempt(n), ...details } as ConversionNews)

  const converter = {
    tell,
    hears,
    state: () => state,
    steps: () => state.active.map(({ step }) => step),
    converts: (n: number) => tell({ type: 'convert', ...conversion(n) }),
    aborts: (n: number) => tell({ type: 'abort', ...output(n) }),
    /** The step it is at goes well. */
    endsStep(n: number) {
      const step = state.active.find((one) => one.conversion.jobId === jobId(n))?.step
      if (step === 'inspecting') return hears('inspected', n, { source: readable() })
      if (step === 'encoding') return hears('encoded', n, { video: aVideo() })
      return hears('published', n)
    },
    isAt(step: string, n: number): void {
      converter.converts(n)
      while (converter.steps().at(-1) !== step) converter.endsStep(n)
    },
  }
  return converter
}

const startsIn = (effects: readonly ConversionEffect[]) =>
  effects.flatMap((effect) =>
    effect.do === 'inspect' ? [Number(effect.conversion.jobId.slice(-12))] : [],
  )

const quiet = () => {}
const log = { debug: quiet, info: quiet, warn: quiet, error: quiet }

function aConversionActor({ limit = 1 } = {}) {
  const queue = createProbe<QueueMessage>('queue')
  const { tools, steps } = createFakeVideoTools()
  const behaviour = conversionBehaviour({ task, tools, queue: queue.ref, limit, log })
  const actor = anActor('conversion', behaviour)
  return {
    actor,
    queue,
    /** Waits until the actor has come that far. */
    async step(name: FakeStep['step'], n: number): Promise<FakeStep> {
      const find = () => steps.find((one) => one.step === name && one.attempt.jobId === jobId(n))
      await expect.poll(find, { interval: 1 }).toBeDefined()
      return find() as FakeStep
    },
  }
}
