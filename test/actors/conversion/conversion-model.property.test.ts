/**
 * Files of conversions in a world in which each step may take any time, and the converter may be killed
 * between any two. A small queue repeats its orders to the next incarnation, as the real one does, and at other times, as
 * letters between machines may cross.
 */
import { strict as assert } from 'node:assert'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type {
  ConversionEffect,
  ConversionMessage,
  ConversionReport,
  ConversionState,
} from '../../../src/actors/conversion/conversion-protocol.ts'
import { startConverter, transition } from '../../../src/actors/conversion/conversion-transition.ts'
import type { JobId } from '../../../src/domain/job.ts'
import { aRequest, aSource, aVideo, jobId } from '../../support/jobs.ts'

const foreign = 'somebody'

type Order = { jobId: JobId; epoch: number; filename: string; isCanceled: boolean }
type Rules = typeof transition

const which = fc.nat(9)
const happening = fc.oneof(
  { weight: 5, arbitrary: fc.record({ do: fc.constant('convert' as const), which }) },
  {
    weight: 30,
    arbitrary: fc.record({ do: fc.constant('step' as const), which, fails: fc.nat(9) }),
  },
  { weight: 20, arbitrary: fc.record({ do: fc.constant('hear' as const) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('cancel' as const), which }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('repeat' as const), which }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('kill' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('place' as const), which }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('loseSource' as const), which }) },
)
type Happening = typeof happening extends fc.Arbitrary<infer T> ? T : never

const story = (rules: Rules = transition) =>
  fc.property(fc.array(happening, { minLength: 10, maxLength: 120, size: 'max' }), (happenings) => {
    const world = createWorld(rules)
    for (const one of happenings) world.let(one)
    world.settle()
  })

describe('the file of a conversion', () => {
  it('is published when the queue hears of its video, and gone when it hears of any other end', () => {
    fc.assert(story(), { numRuns: 300 })
  })
})

describe('the stories', () => {
  it.each<[what: string, rules: Rules]>([
    [
      'leaves what was published before',
      (task, state, message) => {
        const [next, effects] = transition(task, state, message)
        return [next, effects.map(withoutWithdrawal)]
      },
    ],
    [
      'reports an end before its files are removed',
      (task, state, message) => {
        const [next, effects] = transition(task, state, message)
        const early = next.ending.map(({ report }): ConversionEffect => ({ do: 'report', report }))
        return [{ ...next, ending: [] }, [...early, ...effects]]
      },
    ],
    [
      'forgets how conversions ended',
      (task, state, message) => transition(task, { ...state, ended: [] }, message),
    ],
  ])('find a converter that %s', (_what, rules) => {
    // Few stories show it. The search ends with the first that does.
    const { failed } = fc.check(story(rules), { numRuns: 5_000, endOnFailure: true })
    expect(failed).toBe(true)
  })
})

function withoutWithdrawal(effect: ConversionEffect): ConversionEffect {
  return effect.do === 'withdraw'
    ? { ...effect, output: { ...effect.output, filename: 'nothing.mp4' } }
    : effect
}

function createWorld(rules: Rules) {
  const files = new Map<string, JobId | typeof foreign>()
  const placed = new Set<string>()
  const withoutSource = new Set<JobId>()
  const orders = new Map<JobId, Order>()
  let submitted = 0
  let state: ConversionState
  let effects: ConversionEffect[] = []
  let mail: ConversionMessage[] = []
  start()

  return { let: happen, settle }

  function happen(one: Happening): void {
    switch (one.do) {
      case 'convert': {
        submitted += 1
        const filename = `video-${one.which % 3}.mp4`
        const isTaken =
          files.has(filename) || [...orders.values()].some((o) => o.filename === filename)
        if (isTaken) break
        const order = { jobId: jobId(submitted), epoch: 1, filename, isCanceled: false }
        orders.set(order.jobId, order)
        mail.push(messageFor(order))
        break
      }
      case 'cancel': {
        const order = pick(one.which)
        if (!order || order.isCanceled) break
        order.isCanceled = true
        mail.push(messageFor(order))
        break
      }
      case 'step': {
        const [effect] = effects.splice(one.which % Math.max(1, effects.length), 1)
        if (effect) perform(effect, one.fails === 0)
        break
      }
      case 'hear': {
        const message = mail.shift()
        if (message) handle(message)
        break
      }
      case 'repeat': {
        const order = pick(one.which)
        if (order) mail.push(messageFor(order))
        break
      }
      case 'kill':
        start()
        break
      case 'place': {
        const order = pick(one.which)
        if (!order || files.has(order.filename)) break
        files.set(order.filename, foreign)
        placed.add(order.filename)
        break
      }
      case 'loseSource': {
        const order = pick(one.which)
        if (order) withoutSource.add(order.jobId)
        break
      }
    }
    for (const name of placed) assert.equal(files.get(name), foreign, `${name} is not touched`)
  }

  function pick(which: number): Order | undefined {
    return [...orders.values()][which % Math.max(1, orders.size)]
  }

  function messageFor({ isCanceled, ...output }: Order): ConversionMessage {
    return isCanceled
      ? { type: 'abort', ...output }
      : { type: 'convert', ...output, request: aRequest() }
  }

  /** Nothing that was under way is heard of, and the queue repeats its orders. */
  function start(): void {
    effects = []
    const [first] = startConverter(2)
    state = first
    mail = [...orders.values()].map(messageFor)
  }

  function handle(message: ConversionMessage): void {
    const [next, more] = rules('ti2v-5B', state, message)
    state = next
    for (const effect of more) {
      if (effect.do === 'report') hear(effect.report)
      else effects.push(effect)
    }
  }

  function perform(effect: ConversionEffect, fails: boolean): void {
    switch (effect.do) {
      case 'inspect': {
        const { jobId, epoch, filename } = effect.conversion
        const published = { how: 'published', facts: aVideo() } as const
        const gone = files.get(filename) === jobId ? published : ({ how: 'lost' } as const)
        const source = withoutSource.has(jobId)
          ? gone
          : ({ how: 'readable', facts: aSource() } as const)
        mail.push({ type: 'inspected', jobId, epoch, source })
        break
      }
      case 'encode':
        mail.push(
          fails
            ? failed(effect.conversion)
            : { type: 'encoded', ...keyOf(effect.conversion), video: aVideo() },
        )
        break
      case 'publish': {
        const { jobId, filename } = effect.conversion
        const owner = files.get(filename)
        if (owner !== undefined && owner !== jobId) {
          assert.equal(owner, foreign, `${filename} is not the file of another job`)
          mail.push(failed(effect.conversion))
          break
        }
        files.set(filename, jobId)
        mail.push({ type: 'published', ...keyOf(effect.conversion) })
        break
      }
      case 'withdraw': {
        const { jobId, filename } = effect.output
        if (files.get(filename) === jobId) files.delete(filename)
        mail.push({ type: 'withdrawn', ...keyOf(effect.output) })
        break
      }
    }
  }

  function hear(report: ConversionReport): void {
    if (report.type === 'conversionReady') return
    const order = orders.get(report.jobId)
    if (!order) return
    if (report.type === 'converted' && order.isCanceled) {
      mail.push(messageFor(order))
      return
    }
    orders.delete(order.jobId)
    const owner = files.get(order.filename)
    if (report.type === 'converted') {
      assert.equal(owner, order.jobId, 'a video is published')
      // Its name is free again when it is deleted.
      files.delete(order.filename)
    } else assert.notEqual(owner, order.jobId, 'nothing is left of a conversion without a video')
  }

  function settle(): void {
    for (let round = 0; mail.length + effects.length > 0; round++) {
      assert(round < 10_000, 'everything comes to its end')
      happen({ do: 'hear' })
      happen({ do: 'step', which: 0, fails: 1 })
    }
    assert.equal(orders.size, 0, 'the queue hears of every end')
    assert(![...files.values()].some((owner) => owner !== foreign), 'no file is left')
  }
}

const keyOf = ({ jobId, epoch }: Order | Omit<Order, 'isCanceled'>) => ({ jobId, epoch })

const failed = (conversion: Omit<Order, 'isCanceled'>): ConversionMessage => ({
  type: 'stepFailed',
  ...keyOf(conversion),
  why: 'it failed',
  killed: false,
})
