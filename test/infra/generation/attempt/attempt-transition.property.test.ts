/**
 * The rules of an attempt in two kinds of stories: events in any order, also impossible ones, and a
 * world of a shim, a worker and files (support/attempt-world.ts) in which anything may happen.
 */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type {
  AttemptEffect,
  AttemptEvent,
  AttemptState,
} from '../../../../src/infra/generation/attempt/attempt-state.ts'
import { begin, transition } from '../../../../src/infra/generation/attempt/attempt-transition.ts'
import {
  type AttemptRules,
  anExit,
  createAttemptWorld,
  type Found,
} from '../../../support/attempt-world.ts'
import { midnight } from '../../../support/jobs.ts'

const rules: AttemptRules = { begin, transition }
const seed = Number(process.env.PROPERTY_SEED ?? 20_260_101)
const runs = Number(process.env.PROPERTY_RUNS ?? 0)

const event: fc.Arbitrary<AttemptEvent> = fc.oneof(
  // Often, or the phases behind them are seldom reached.
  fc.constantFrom<AttemptEvent>(
    { type: 'helloReceived', startedAt: midnight },
    { type: 'connectionClosed' },
  ),
  fc.constantFrom<AttemptEvent>(
    { type: 'stopAsked', reason: 'canceled', graceMs: 1_000 },
    { type: 'cannotStart', why: 'no python' },
    { type: 'shimEnded', signal: null },
    { type: 'shimEnded', signal: 'SIGKILL' },
    { type: 'shimUnwatched' },
    { type: 'noExitFound' },
    { type: 'noExitLeft' },
    { type: 'helloReceived', startedAt: null },
    { type: 'helloReceived', startedAt: midnight },
    { type: 'connectionClosed' },
    { type: 'lookDue' },
    { type: 'noRoomSeen' },
    { type: 'outputFinished', hasFiles: true },
    { type: 'outputFinished', hasFiles: true, evidence: { finished: true } },
    { type: 'forceDue' },
    { type: 'shimGone' },
  ),
  fc.constantFrom('revoked', 'taken', 'noFiles').map((claim) => ({ type: 'claimAnswered', claim })),
  fc.constantFrom('alive', 'dead', 'unknown').map((life) => ({ type: 'lifeChecked', life })),
  fc
    .record({
      code: fc.constantFrom(0, 1, 2, null),
      unreaped: fc.constantFrom(0, 0, 0, 1),
      reason: fc.constantFrom(null, 'canceled'),
    })
    .chain((changes) =>
      fc.constantFrom('shim', 'file').map((source) => ({
        ...{ type: 'exitFound', exit: anExit(changes), source },
      })),
    ),
  fc.nat(2).map((step) => ({
    type: 'outputRead',
    reading: { stage: 'denoising', step, totalSteps: 2 },
  })),
  fc
    .record({ found: fc.nat(1), survivors: fc.nat(1), hasFiles: fc.boolean() })
    .map((cleared) => ({ type: 'cleared', ...cleared })),
) as fc.Arbitrary<AttemptEvent>

const how = fc.constantFrom('start', 'adopt')
const events = fc.array(event, { maxLength: 40, size: 'max' })

type Moment = Readonly<{
  before: AttemptState
  event: AttemptEvent
  effects: readonly AttemptEffect[]
}>

/** Every event with the state that it found and the effects that it had. */
function tell(how: 'start' | 'adopt', events: readonly AttemptEvent[]): Moment[] {
  let state: AttemptState = begin(how, midnight)[0]
  return events.map((event, n) => {
    const before = state
    const [next, effects] = transition(before, event, midnight + n * 1_000)
    state = next
    return { before, event, effects }
  })
}

const reportsIn = (moments: readonly Moment[]) =>
  moments.flatMap(({ effects }) =>
    effects.flatMap((one) => (one.do === 'report' ? [one.report] : [])),
  )

const resultOf = (moments: readonly Moment[]) =>
  reportsIn(moments).flatMap((one) => (one.type === 'ended' ? [one.result] : []))[0]

describe('an attempt, whatever events arrive in whatever order,', () => {
  const holds = (property: (moments: readonly Moment[]) => void) =>
    fc.assert(
      fc.property(how, events, (how, events) => property(tell(how, events))),
      { seed, numRuns: Math.max(1_000, runs) },
    )

  it('reports its start once, then readings, then its end once', () => {
    holds((moments) => {
      const types = reportsIn(moments).map(({ type }) => type)
      expect(types.join(' ')).toMatch(/^(started( reading)*)?( ?ended)?$/)
    })
  })

  it('has no effect after its end', () => {
    holds((moments) => {
      for (const { before, effects } of moments) {
        if (before.phase === 'over') expect(effects).toEqual([])
      }
    })
  })

  it('reports nothing after the detach', () => {
    fc.assert(
      fc.property(how, events, events, (how, before, after) => {
        const moments = tell(how, [...before, { type: 'detached' }, ...after])
        const [detached, ...rest] = moments.slice(before.length)
        expect(reportsIn(detached ? [detached] : [])).toEqual([])
        expect(rest.flatMap(({ effects }) => effects)).toEqual([])
      }),
      { seed },
    )
  })

  it('ends with the outcome of the exit that appears before its end is known', () => {
    holds((moments) => {
      const ended = ['clearing', 'finishing', 'leaving', 'over']
      const found = moments.find(
        ({ before, event }) => event.type === 'exitFound' && !ended.includes(before.phase),
      )
      const result = resultOf(moments)
      if (found?.event.type !== 'exitFound' || !result) return
      const { code, unreaped } = found.event.exit
      const cleared = moments.find(
        ({ before, event }) => before.phase === 'clearing' && event.type === 'cleared',
      )?.event
      const survivors = cleared?.type === 'cleared' ? cleared.survivors : unreaped
      const expected = survivors > 0 ? 'unkillable' : code === 0 ? 'completed' : 'failed'
      expect(result.how).toBe(expected)
      expect(reportsIn(moments)[0]?.type).toBe('started')
    })
  })

  it('reports neverBegan only with the claim, when no process was found, and never after a start', () => {
    holds((moments) => {
      if (resultOf(moments)?.how !== 'neverBegan') return
      const types = reportsIn(moments).map(({ type }) => type)
      expect(types).toEqual(['ended'])
      const revoked = moments.some(
        ({ event }) => event.type === 'claimAnswered' && event.claim !== 'taken',
      )
      expect(revoked).toBe(true)
      const last = moments.find(({ effects }) => effects.some(({ do: what }) => what === 'report'))
      expect(last?.event).toMatchObject({ type: 'cleared', found: 0, survivors: 0 })
    })
  })

  it('ends after a stop only when its shim is gone, if anything ran', () => {
    holds((moments) => {
      const stopped = moments.findIndex(
        ({ before, event }) => event.type === 'stopAsked' && before.phase !== 'leaving',
      )
      const last = moments.findIndex(({ effects }) =>
        reportsIn([{ effects } as Moment]).some(isEnd),
      )
      if (stopped < 0 || last < stopped) return
      const hasRun = reportsIn(moments)[0]?.type === 'started'
      if (hasRun) expect(moments[last]?.event.type).toBe('shimGone')
    })
  })

  it('expects to use force for each stop, and uses it while there is no end', () => {
    holds((moments) => {
      for (const { before, event, effects } of moments) {
        if (before.phase !== 'seeking' && before.phase !== 'connected') continue
        const does = effects.map((effect) => effect.do)
        if (event.type === 'stopAsked') expect(does).toContain('expectForce')
        if (event.type === 'forceDue') expect(does).toContain('force')
      }
    })
  })
})

const isEnd = ({ type }: { type: string }) => type === 'ended'

const found = fc.constantFrom<Found>('nothing', 'a shim', 'a worker', 'an exit', 'a dead shim')
const beginning = fc.oneof(
  fc.constant(['start', 'nothing'] as const),
  found.map((found) => ['adopt', found] as const),
)

/** Each chooses one of the moves that are possible then. */
const choice = fc.record({
  isMishap: fc.oneof({ weight: 9, arbitrary: fc.constant(false) }, fc.constant(true)),
  n: fc.nat(30),
})
const choices = fc.array(choice, { maxLength: 60, size: 'max' })

const story = (rules: AttemptRules) =>
  fc.property(beginning, choices, ([how, found], choices) => {
    const world = createAttemptWorld(rules, how, found)
    for (const { isMishap, n } of choices) {
      const moves = isMishap ? world.mishaps() : world.moves()
      moves[n % moves.length]?.[1]()
    }
    world.settle()
  })

describe('an attempt in the world', () => {
  it('comes to a true end, whatever happens to its processes', () => {
    fc.assert(story(rules), { seed, numRuns: Math.max(2_000, runs) })
  })
})

describe('the stories', () => {
  const broken = (
    change: (...now: Parameters<typeof transition>) => ReturnType<typeof transition>,
  ) => ({
    begin,
    transition: change,
  })

  it.each<[what: string, broken: AttemptRules]>([
    [
      'trusts a look from before the end of the shim',
      broken((state, event, at) =>
        event.type === 'noExitFound' && state.phase === 'concluding'
          ? transition(state, { type: 'noExitLeft' }, at)
          : transition(state, event, at),
      ),
    ],
    [
      'answers a stop before the shim is gone',
      broken((state, event, at) => {
        if (state.phase !== 'finishing') return transition(state, event, at)
        const { stop, ...rest } = state
        return transition(rest, event, at)
      }),
    ],
    [
      'revokes an attempt whose shim is still to come',
      {
        transition,
        begin(how, at) {
          const [state, effects] = begin(how, at)
          return [{ ...state, isWatched: false } as typeof state, effects]
        },
      },
    ],
    [
      'gives up looking when a connection closes',
      broken((state, event, at) =>
        event.type === 'connectionClosed' && state.phase === 'connected'
          ? [state, []]
          : transition(state, event, at),
      ),
    ],
    [
      'never uses force',
      broken((state, event, at) =>
        event.type === 'forceDue' ? [state, []] : transition(state, event, at),
      ),
    ],
    [
      'forgets that it has reported the start',
      broken((state, event, at) => {
        if (state.phase !== 'seeking') return transition(state, event, at)
        const { startedAt, ...rest } = state
        return transition(rest, event, at)
      }),
    ],
    [
      'believes a claim without a search for processes',
      broken((state, event, at) => {
        if (event.type !== 'claimAnswered' || event.claim === 'taken') {
          return transition(state, event, at)
        }
        if (state.phase !== 'seeking' || state.startedAt !== undefined) {
          return transition(state, event, at)
        }
        const result = { how: 'neverBegan' } as const
        return [{ phase: 'over' }, [{ do: 'report', report: { type: 'ended', result } }]]
      }),
    ],
    [
      'believes a file that says that it has ended',
      broken((state, event, at) =>
        event.type === 'exitFound'
          ? transition(state, { ...event, source: 'shim' }, at)
          : transition(state, event, at),
      ),
    ],
  ])('find an attempt that %s', (_what, broken) => {
    expect(fc.check(story(broken), { seed, numRuns: Math.max(2_000, runs) }).failed).toBe(true)
  })
})
