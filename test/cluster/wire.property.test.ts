import fc from 'fast-check'
import { describe, expect, expectTypeOf, it } from 'vitest'
import type {
  ConversionMessage,
  ConversionReport,
} from '../../src/actors/conversion/conversion-protocol.ts'
import type { GpuMessage } from '../../src/actors/gpu/gpu-protocol.ts'
import type { QueueMessage } from '../../src/actors/queue/queue-protocol.ts'
import type { TemplateMessage } from '../../src/actors/template/template-protocol.ts'
import type { Unsendable } from '../../src/cluster/sendable.ts'
import { decode, encode } from '../../src/cluster/wire.ts'
import { RefusalError } from '../../src/domain/errors.ts'
import { failureCodes, type Reading, type VideoRequest, videoSizes } from '../../src/domain/job.ts'
import { aRequest, gpuId, jobId } from '../support/jobs.ts'

const noRef = () => {
  throw new Error('no reference was sent')
}

/** What arrives at the other node. */
const sent = <Message>(message: Message): Message =>
  decode(JSON.parse(JSON.stringify(encode(message, noRef))), noRef) as Message

/** News of nodes to the queue. */
type NewsOfNodes = Extract<
  QueueMessage,
  {
    type:
      | 'gpuReady'
      | 'gpuGone'
      | 'runDeclined'
      | 'generationStarted'
      | 'generationReported'
      | 'generationEnded'
      | 'roomChecked'
      | 'environmentChecked'
      | 'templateWaits'
      | 'templateSettled'
      | 'conversionReady'
      | 'caretakerReady'
      | 'converted'
      | 'conversionFailed'
      | 'conversionAborted'
      | 'conversionLost'
      | 'speedsLearned'
  }
>

describe('messages between nodes', () => {
  it('have types that can travel', () => {
    expectTypeOf<Unsendable<GpuMessage>>().toBeNever()
    expectTypeOf<Unsendable<ConversionMessage>>().toBeNever()
    expectTypeOf<Unsendable<ConversionReport>>().toBeNever()
    expectTypeOf<Unsendable<TemplateMessage>>().toBeNever()
    expectTypeOf<Unsendable<NewsOfNodes>>().toBeNever()
  })

  it('are refused by the compiler when a part of them cannot travel', () => {
    expectTypeOf<Unsendable<{ at: Date }>>().toEqualTypeOf<Date>()
    expectTypeOf<Unsendable<{ error?: unknown }>>().toBeUnknown()
    expectTypeOf<Unsendable<{ size: bigint }>>().toEqualTypeOf<bigint>()
    expectTypeOf<Unsendable<{ all: ReadonlySet<string> }>>().toEqualTypeOf<ReadonlySet<string>>()
    expectTypeOf<Unsendable<{ cause: Error }>>().toEqualTypeOf<Error>()
  })

  it.each([
    ['a bigint', 1n],
    ['a date', new Date()],
    ['a set', new Set()],
    ['an error that is no refusal', new Error()],
    ['a function', noRef],
  ])('are refused at run time with %s in them', (_, value) => {
    expect(() => sent({ value })).toThrow('cannot be sent to another node')
  })

  it('arrive as they were sent, whatever they are made of', () => {
    const key = fc.oneof(fc.string({ unit: 'binary' }), fc.constantFrom('$', '__proto__', 'toJSON'))
    const { value } = fc.letrec((tie) => ({
      value: fc.oneof(
        { maxDepth: 4, withCrossShrink: true },
        fc.constantFrom(
          undefined,
          null,
          true,
          Number.NaN,
          Number.POSITIVE_INFINITY,
          -0,
          '\ud800',
          '\0',
        ),
        fc.double(),
        fc.string({ unit: 'binary' }),
        fc.array(tie('value'), { maxLength: 4 }),
        fc.dictionary(key, tie('value'), { maxKeys: 4, noNullPrototype: true }),
        fc.array(fc.tuple(tie('value'), tie('value')), { maxLength: 3 }).map((all) => new Map(all)),
      ),
    }))
    fc.assert(
      fc.property(value, (message) => {
        expect(sent(message)).toStrictEqual(message)
      }),
      { numRuns: 500 },
    )
  })

  it('arrive as they were sent: those of the actors', () => {
    fc.assert(
      fc.property(fc.oneof(gpuMessages, conversionMessages, news), (generated) => {
        const message: unknown = structuredClone(generated)
        expect(sent(message)).toStrictEqual(message)
      }),
    )
  })

  it('keep the text of a prompt that no database takes as it is', () => {
    const prompt = 'NUL \0, half a pair \ud83e, and "$": {"$":"map"}'
    expect(sent(aRequest({ prompt })).prompt).toBe(prompt)
  })

  it('keep what a refusal says', () => {
    const quota = { limit: 3, remaining: 0 } as never
    const refusal = new RefusalError('queue_full', 'There is no room.', {
      field: 'prompt',
      quota,
      awaits: [jobId(1)],
      etaSeconds: null,
    })
    const arrived = sent(refusal)
    expect(arrived).toBeInstanceOf(RefusalError)
    expect({ ...arrived, message: arrived.message }).toEqual({
      ...refusal,
      message: refusal.message,
    })
  })

  it('of a later version, with values of an unknown kind, are refused instead of misread', () => {
    expect(() => decode({ at: { $: 'date', is: 7 } }, noRef)).toThrow('unknown kind of value')
  })
})

const text = fc.string({ unit: 'binary' })
const attempt = { jobId: fc.nat(9).map(jobId), epoch: fc.nat() }
const request: fc.Arbitrary<VideoRequest> = fc
  .record({
    prompt: text,
    size: fc.constantFrom(...videoSizes),
    guidance: fc.double({ noNaN: true }),
    filename: text,
    metadata: fc.dictionary(text, text, { noNullPrototype: true }),
  })
  .map((wished) => aRequest(wished))
const reading: fc.Arbitrary<Reading> = fc.record(
  {
    stage: fc.constantFrom('loading' as const, 'denoising'),
    step: fc.nat(),
    began: fc.record({ loading: fc.nat(), imported: fc.nat() }, { requiredKeys: [] }),
    secondsPerStep: fc.double({ min: 0, noNaN: true }),
  },
  { requiredKeys: ['stage'] },
)
const failure = fc.record(
  { code: fc.constantFrom(...failureCodes), message: text, exitCode: fc.nat() },
  { requiredKeys: ['code', 'message'] },
)
const of = <const Type extends string>(type: Type) => fc.constant(type)

const gpuMessages: fc.Arbitrary<GpuMessage> = fc.oneof(
  fc.record({ type: fc.constantFrom('run', 'adopt'), order: fc.record({ ...attempt, request }) }),
  fc.record({
    type: of('stopGeneration'),
    reason: fc.constantFrom('canceled', 'orphaned'),
    ...attempt,
  }),
  fc.record({ type: of('announce') }),
)

const conversionMessages: fc.Arbitrary<ConversionMessage> = fc.oneof(
  fc.record({ type: of('convert'), ...attempt, filename: text, request }),
  fc.record({ type: of('abort'), ...attempt, filename: text }),
)

const gpu = fc.nat(9).map(gpuId)
const news: fc.Arbitrary<NewsOfNodes> = fc.oneof(
  fc.record(
    { type: of('gpuReady'), gpu, incarnation: text, holding: fc.record(attempt) },
    { requiredKeys: ['type', 'gpu', 'incarnation'] },
  ),
  fc.record({ type: of('generationReported'), gpu, reading, ...attempt }),
  fc.record({
    type: of('generationEnded'),
    result: fc.oneof(
      fc.record({ how: fc.constantFrom('completed', 'lost', 'neverBegan', 'forkFailed') }),
      fc.record({ how: of('failed'), failure }),
    ),
    ...attempt,
  }),
  fc.record({ type: of('conversionFailed'), failure, ...attempt }),
  fc.record({
    type: of('speedsLearned'),
    secondsPerJob: fc.array(fc.tuple(gpu, fc.double({ noNaN: true }))).map((all) => new Map(all)),
  }),
)
