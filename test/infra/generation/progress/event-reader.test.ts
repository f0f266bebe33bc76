import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Reading } from '../../../../src/domain/job.ts'
import { createAttemptClock } from '../../../../src/infra/generation/attempt/attempt-clock.ts'
import {
  createEventReader,
  type Fallback,
  maxEventBytes,
} from '../../../../src/infra/generation/progress/event-reader.ts'
import {
  createGenerationReader,
  leading,
} from '../../../../src/infra/generation/progress/generation-reader.ts'
import { bytesHeld } from '../../../support/memory.ts'

const startedAt = 1_700_000_000_000
const second = 1000
const totalSteps = 4

const line = (event: string, afterS: number, details: object = {}) =>
  `${JSON.stringify({ event, at: startedAt / second + afterS, ...details })}\n`
const step = (n: number, afterS: number) => line('step', afterS, { step: n, total: totalSteps })

const wholeRun = [
  line('started', 1),
  line('imported', 8),
  line('text_encoder_begun', 9),
  line('text_encoder_loaded', 60),
  line('pipeline_ready', 80),
  line('prompt_encoded', 82),
  line('prompt_encoded', 84),
  line('sampling', 90, { total: totalSteps }),
  step(1, 120),
  step(2, 130),
  step(3, 141),
  step(4, 150),
  line('decoding', 151),
  line('decoded', 190),
  line('memory', 190, { allocated: 19e9, reserved: 21e9 }),
  line('saving', 191),
  line('saved', 193),
  line('memory', 194, { allocated: 20e9, reserved: 22e9 }),
]

function readingOf(text: string, writtenBy = startedAt + 1000 * second): Reading | undefined {
  const reader = createEventReader({ totalSteps, startedAt })
  reader.feed(Buffer.from(text), writtenBy)
  return reader.reading
}

const moment = (seconds: number) => startedAt + seconds * second

describe('a fallback among the events', () => {
  it.each([
    [{ part: 'fast_load', why: 'no such name' }, [{ part: 'fast_load', why: 'no such name' }]],
    // As launchers of earlier versions write it.
    [{ why: 'no such name' }, [{ part: 'progress', why: 'no such name' }]],
    [{ part: 'another', why: '' }, [{ part: 'progress', why: '' }]],
    [{ part: 'fast_load' }, []],
  ])('is reported with its part and its reason: %j', (details, expected) => {
    const fallbacks: Fallback[] = []
    const onFallback = (fallback: Fallback) => fallbacks.push(fallback)
    const reader = createEventReader({ totalSteps, startedAt, onFallback })
    reader.feed(Buffer.from(line('fallback', 1, details)), moment(2))
    expect(fallbacks).toEqual(expected)
  })
})

it('tells of each prompt whether its embedding was kept or made', () => {
  const told: [string, number][] = []
  const onEncoded = (source: string, number: number) => told.push([source, number])
  const reader = createEventReader({ totalSteps, startedAt, onEncoded })
  reader.feed(
    Buffer.from([0, 1, 2].map((found) => line('embedding', 1, { found })).join('')),
    moment(2),
  )
  expect(told).toEqual([
    ['encoder', 1],
    ['cache', 2],
  ])
})

describe('the reading of events', () => {
  it('goes through the stages of a run, with the times of the events themselves', () => {
    const reader = createEventReader({ totalSteps, startedAt })
    const readings = wholeRun.map((text) => {
      reader.feed(Buffer.from(text), moment(1000))
      const { stage, step } = reader.reading ?? {}
      return step === undefined ? stage : step
    })
    expect(readings).toEqual([
      ...Array(4).fill('loading'),
      ...Array(3).fill('encoding'),
      ...[0, 1, 2, 3],
      ...Array(4).fill('decoding'),
      ...Array(3).fill('saving'),
    ])
    expect(reader.reading).toEqual({
      stage: 'saving',
      source: 'events',
      began: {
        loading: startedAt,
        imported: moment(8),
        encoding: moment(80),
        denoising: moment(90),
        decoding: moment(150),
        saving: moment(191),
      },
      steppedAt: moment(150),
      secondsPerStep: 10,
      peakVramBytes: 22e9,
    })
  })

  it('is none before the first event', () => {
    expect(readingOf('')).toBeUndefined()
    expect(readingOf('Traceback\n\n{}\n[]\nnull\n{"event":"step"}\n')).toBeUndefined()
    expect(readingOf(line('started', 1).trim())).toBeUndefined()
  })

  it.each([
    ['other words', 'INFO: Generating video ...\n'],
    ['half a line', '{"event":"step","at":17\n'],
    ['an event that it does not know', line('finished', 130, { step: 4, total: 4 })],
    ['a step of another bar', line('step', 130, { step: 3, total: 25 })],
    ['a bar of another length', line('sampling', 130, { total: 25 })],
    ['a step beyond the last', line('step', 130, { step: 5, total: 4 })],
    ['half a step', line('step', 130, { step: 2.5, total: 4 })],
    ['a step below zero', line('step', 130, { step: -1, total: 4 })],
    ['a step in words', line('step', 130, { step: '3', total: 4 })],
    ['a step without a time', '{"event":"step","step":3,"total":4}\n'],
    ['a time that is none', '{"event":"step","at":"now","step":3,"total":4}\n'],
    ['a step that was done before', step(1, 140)],
    ['a second bar', line('sampling', 140, { total: 4 })],
    ['a stage that is over', line('pipeline_ready', 140)],
    ['decoding in between, as a task with several clips does', line('decoding', 140)],
    ['a list', '[{"event":"step","at":1,"step":3,"total":4}]\n'],
    ['bytes that are no text', '\x00\xff\xfe{"event":"step"}\n'],
    ['too many brackets', `${'['.repeat(4000)}\n`],
    [
      'an event that is too long',
      step(3, 130).replace('{', `{"x":"${'x'.repeat(maxEventBytes)}",`),
    ],
  ])('takes no notice of %s', (_, text) => {
    const soFar = wholeRun.slice(0, 9).join('')
    expect(readingOf(soFar + text)).toEqual(readingOf(soFar))
  })

  it.each([
    ['before the start', -500],
    ['in the future', 1e9],
    ['beyond any number', 1e300],
  ])('keeps its times in order where an event is %s', (_, wrong) => {
    const now = moment(300)
    const events = [line('pipeline_ready', wrong), line('sampling', 200, { total: 4 }), step(1, 10)]
    const { began = {}, steppedAt = 0 } = readingOf(events.join(''), now) ?? {}
    const times = [began.loading, began.encoding, began.denoising, steppedAt] as number[]
    expect(times).toEqual(times.toSorted((a, b) => a - b))
    expect(times[0]).toBe(startedAt)
    expect(times.at(-1)).toBeLessThanOrEqual(now)
  })

  it('is the same however the bytes come, never goes back, and has its times in order', () => {
    const rubbish = fc.oneof(
      fc.string({ maxLength: 20 }).map((text) => Buffer.from(`${text}\n`)),
      fc.uint8Array({ maxLength: 8 }).map((bytes) => Buffer.from(bytes)),
      fc.constantFrom('{"event":"", "at":1}\n', '漢字\n', '\r\n').map((text) => Buffer.from(text)),
      fc
        .tuple(
          fc.constantFrom('step', 'sampling', 'saving', 'pipeline_ready'),
          fc.nat(9),
          fc.double(),
        )
        .map(([event, n, at]) =>
          Buffer.from(`${JSON.stringify({ event, at, step: n, total: 4 })}\n`),
        ),
    )
    const events = fc.array(
      fc.oneof(
        fc.constantFrom(...wholeRun).map((text) => Buffer.from(text)),
        rubbish,
      ),
      { maxLength: 60 },
    )
    const stages = ['loading', 'encoding', 'denoising', 'decoding', 'saving']
    fc.assert(
      fc.property(events, fc.array(fc.nat(100)), (parts, sizes) => {
        const bytes = Buffer.concat(parts)
        const now = moment(1000)
        const whole = createEventReader({ totalSteps, startedAt })
        whole.feed(bytes, now)
        const chunked = createEventReader({ totalSteps, startedAt })
        let left = bytes
        let before = -1
        for (const size of [...sizes, Infinity]) {
          chunked.feed(left.subarray(0, size), now)
          left = left.subarray(size)
          const { reading } = chunked
          if (!reading) continue
          const position = stages.indexOf(reading.stage) + (reading.step ?? 0) / 100
          expect(position).toBeGreaterThanOrEqual(before)
          before = position
          const times = Object.values(reading.began ?? {})
          expect(times).toEqual(times.toSorted((a, b) => a - b))
          expect(Math.min(startedAt, ...times)).toBe(startedAt)
          expect(Math.max(now, ...times)).toBe(now)
        }
        expect(chunked.reading).toEqual(whole.reading)
      }),
      { numRuns: 500 },
    )
  })

  it('takes no more memory for 50 MB of events, nor for a line without an end', () => {
    const reader = createEventReader({ totalSteps, startedAt })
    const events = Buffer.from(wholeRun.join('').repeat(50))
    const endless = Buffer.alloc(1_000_000, '{"event":"step",')
    reader.feed(events, moment(1000))
    const before = bytesHeld()
    for (let fed = 0; fed < 5e6; fed += events.length) reader.feed(events, moment(1000))
    for (let fed = 0; fed < 45e6; fed += endless.length) reader.feed(endless, moment(1000))
    expect(bytesHeld() - before).toBeLessThan(0.5e6)
    expect(reader.reading).toMatchObject({ stage: 'saving' })
  })
})

describe('the reading of a generation with a launcher', () => {
  const stderr = (n: number) => `\r  2%|▏         | ${n}/4 [00:22<18:02, 22.08s/it]`
  const generating = '[2023-11-14 22:14:50,000] INFO: Generating video ...\n'

  function aReader() {
    const reader = createGenerationReader({ totalSteps, startedAt, clock: createAttemptClock() })
    const feed = (stream: 'stdout' | 'stderr' | 'events', text: string, at = moment(500)) =>
      reader.feed(stream, Buffer.from(text), at)
    return { reader, feed }
  }

  it('is told by the events as long as they are as far as the output', () => {
    const { reader, feed } = aReader()
    feed('stdout', generating)
    feed('events', wholeRun.slice(0, 9).join(''))
    feed('stderr', stderr(1))
    expect(reader.reading).toMatchObject({ source: 'events', step: 1, steppedAt: moment(120) })
  })

  it('is told by the output where the launcher fell silent, with the memory it told of', () => {
    const { reader, feed } = aReader()
    feed('events', line('started', 1) + line('memory', 2, { reserved: 5e9 }))
    expect(reader.reading).toMatchObject({ stage: 'loading', source: 'events' })
    feed('stdout', generating)
    expect(reader.reading).toMatchObject({ stage: 'encoding', source: 'log', peakVramBytes: 5e9 })
    feed('stderr', stderr(2))
    expect(reader.reading).toMatchObject({ stage: 'denoising', step: 2, source: 'log' })
    feed('events', wholeRun.slice(4, 11).join(''))
    expect(reader.reading).toMatchObject({ step: 3, source: 'events' })
  })

  it('is told by the output alone where there are no events, and by events alone', () => {
    const log: Reading = { stage: 'encoding', source: 'log' }
    const events: Reading = { stage: 'loading', source: 'events' }
    expect(leading(undefined, log)).toBe(log)
    expect(leading(events, undefined)).toBe(events)
    expect(leading(undefined, undefined)).toBeUndefined()
  })

  it('puts no event into the log', () => {
    const { feed } = aReader()
    expect(feed('events', wholeRun.join(''))).toEqual([])
    expect(feed('stdout', generating)).toHaveLength(1)
  })

  it('takes the last words about the end from the output', () => {
    const { reader, feed } = aReader()
    feed('events', wholeRun.join(''))
    feed('stderr', 'Traceback (most recent call last):\n  File "x"\nValueError: no')
    expect(reader.end()).toEqual(['ValueError: no'])
    expect(reader.evidence).toMatchObject({ raised: 'ValueError: no' })
  })

  it('never goes back, whichever of the two is heard first', () => {
    const stages = ['loading', 'encoding', 'denoising', 'decoding', 'saving']
    const pieces = fc.array(
      fc.oneof(
        fc.constantFrom(...wholeRun).map((text) => ['events', text] as const),
        fc.nat(4).map((n) => ['stderr', stderr(n)] as const),
        fc
          .constantFrom(
            generating,
            '[2023-11-14 22:20:00,000] INFO: Saving generated video to x.mp4\n',
          )
          .map((text) => ['stdout', text] as const),
      ),
    )
    fc.assert(
      fc.property(pieces, (heard) => {
        const { reader, feed } = aReader()
        let before = -1
        for (const [stream, text] of heard) {
          feed(stream, text)
          const { reading } = reader
          if (!reading) continue
          const position = stages.indexOf(reading.stage) + (reading.step ?? 0) / 100
          expect(position).toBeGreaterThanOrEqual(before)
          before = position
        }
      }),
      { numRuns: 500 },
    )
  })
})
