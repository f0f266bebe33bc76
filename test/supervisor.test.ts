import { setImmediate as nextTurn } from 'node:timers/promises'
import * as fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import {
  ActorFailedError,
  type ActorRef,
  type ActorSystem,
  type Asks,
  ask,
  type Behaviour,
  createPlace,
  type Ending,
  startActorSystem,
  tell,
} from '../src/actors/actor.ts'
import { child, startSupervisor } from '../src/actors/supervisor/supervisor.ts'
import {
  type ChildSpec,
  type ChildState,
  defaultChildSpec,
  type RestartAnswer,
  type SupervisorCommand,
  type SupervisorEffect,
  type SupervisorEvent,
  type SupervisorNews,
  type SupervisorState,
} from '../src/actors/supervisor/supervisor-protocol.ts'
import {
  initialSupervisorState,
  transition,
} from '../src/actors/supervisor/supervisor-transition.ts'
import { createProbe } from './support/probe.ts'

/*
 * The words before a colon are names of cases in OTP's supervisor_SUITE. Every child here is what
 * OTP calls permanent, under the strategy one_for_one.
 */

const error = new Error('on purpose')
const crashed: Ending = { reason: 'crashed', error, lastMessage: 'run', dropped: 2 }
const stopped: Ending = { reason: 'stopped', dropped: 0 }
const killed: Ending = { reason: 'killed', dropped: 3 }

const restartAnswer = createProbe<RestartAnswer>().ref
const shutdownAnswer = createProbe<'stopped'>().ref

describe('the rules of supervision', () => {
  it('sup_start: starts its children in their order', () => {
    const [state, effects] = transition(resting(), { type: 'startAll' }, 0, 0)
    expect(effects).toEqual([start('a', 1), start('b', 1), start('c', 1)])
    expect(state.children.map(({ phase }) => phase)).toEqual(['running', 'running', 'running'])
  })

  it('sup_start_fail: goes on without a child that does not start, and tries it again later', () => {
    const news = { type: 'startFailed', id: 'a', incarnation: 1, error } as const
    const [state, effects] = transition(running(), news, 1_000, 0)
    expect(effects).toEqual([
      {
        do: 'report',
        event: {
          type: 'childFailed',
          id: 'a',
          incarnation: 1,
          error,
          dropped: 0,
          restartInMs: 100,
        },
      },
      restartLater('a', 1, 100),
    ])
    expect(phases(state)).toEqual(['backoff', 'running', 'running'])
  })

  it.each([
    { name: 'permanent_abnormal: restarts a child that crashed', ending: crashed },
    { name: 'permanent_normal: restarts a child that ended by itself', ending: stopped },
    { name: 'permanent_shutdown: restarts a child that somebody else killed', ending: killed },
  ])('$name', ({ ending }) => {
    const [later, effects] = transition(running(), childEnded('b', 1, ending), 1_000, 0)
    expect(effects).toContainEqual(restartLater('b', 1, 100))
    const [state, starts] = transition(later, restartDue('b', 1), 1_100, 0)
    expect(starts).toEqual([start('b', 2)])
    expect(stateOf(state, 'b')).toMatchObject({ phase: 'running', incarnation: 2 })
  })

  it('one_for_one: leaves the other children as they are', () => {
    const before = running()
    const [later] = transition(before, childEnded('b', 1, crashed), 1_000, 0)
    const [after] = transition(later, restartDue('b', 1), 1_100, 0)
    for (const state of [later, after]) {
      expect(stateOf(state, 'a')).toBe(stateOf(before, 'a'))
      expect(stateOf(state, 'c')).toBe(stateOf(before, 'c'))
    }
  })

  it('tells what is known of a crash', () => {
    const [state, effects] = transition(running(), childEnded('b', 1, crashed), 1_000, 0)
    expect(effects[0]).toEqual({
      do: 'report',
      event: {
        type: 'childFailed',
        id: 'b',
        incarnation: 1,
        error,
        lastMessage: 'run',
        dropped: 2,
        restartInMs: 100,
      },
    })
    expect(stateOf(state, 'b')).toMatchObject({ phase: 'backoff', error: 'on purpose' })
  })

  it.each([
    { thrown: new TypeError('no GPU'), what: 'no GPU' },
    { thrown: 'no GPU', what: 'no GPU' },
    { thrown: '100 %d', what: '100 %d' },
    { thrown: undefined, what: 'ended by itself' },
    { thrown: null, what: 'ended by itself' },
    { thrown: 0, what: '0' },
    { thrown: Symbol('odd'), what: 'Symbol(odd)' },
    { thrown: Object.create(null), what: '[Object: null prototype] {}' },
  ])('calls "$what" what was thrown, whatever it is', ({ thrown, what }) => {
    const ending = { ...crashed, error: thrown }
    const [state] = transition(running(), childEnded('b', 1, ending), 1_000, 0)
    expect(stateOf(state, 'b')).toMatchObject({ phase: 'backoff', error: what })
  })

  it('waits twice as long before each further restart, up to a limit', () => {
    const spec = { intensity: 9, periodMs: 60_000, backoff: { minMs: 100, maxMs: 1_000 } }
    expect(delaysOf(spec, [0, 1, 2, 3, 4, 5, 6])).toEqual([100, 200, 400, 800, 1_000, 1_000, 1_000])
  })

  it('waits up to a fifth longer, so that not all come back at the same moment', () => {
    for (const [jitter, afterMs] of [
      [0, 100],
      [0.5, 110],
      [0.999, 119.98],
    ] as const) {
      const [, effects] = transition(running(), childEnded('b', 1, crashed), 0, jitter)
      expect(effects).toContainEqual(restartLater('b', 1, expect.closeTo(afterMs)))
    }
  })

  it('forgets after a quiet period how long it has waited', () => {
    const spec = { intensity: 9, periodMs: 1_000, backoff: { minMs: 100, maxMs: 5_000 } }
    expect(delaysOf(spec, [0, 500, 1_000, 2_001])).toEqual([100, 200, 400, 100])
  })

  it('one_for_one_escalation: gives a child up on one crash too many within the period', () => {
    const spec = { intensity: 2, periodMs: 1_000 }
    expect(delaysOf(spec, [0, 500, 1_000])).toEqual([100, 200, 'given up'])
    expect(delaysOf(spec, [0, 500, 1_001])).toEqual([100, 200, 200])
    expect(delaysOf({ intensity: 0 }, [0])).toEqual(['given up'])
  })

  it('says that it gave a child up, why, and whether the service can do without', () => {
    for (const significant of [true, false]) {
      const before = running({ intensity: 0, significant })
      const [state, effects] = transition(before, childEnded('b', 1, crashed), 0, 0)
      const event = { type: 'childGivenUp', id: 'b', incarnation: 1, error, significant }
      expect(effects).toEqual([{ do: 'report', event }])
      expect(phases(state)).toEqual(['running', 'given_up', 'running'])
    }
  })

  describe('on a request to restart', () => {
    it('child_adm: a running child is stopped first, and started when it has ended', () => {
      const [stopping, effects] = transition(running(), restartChild('b'), 0, 0)
      expect(effects).toEqual([stop('b', 1), expectEnd('b', 1), answers('restarting')])
      const [state, more] = transition(stopping, childEnded('b', 1, stopped), 5, 0)
      expect(more).toEqual([reportsStop('b', 1), start('b', 2)])
      // It is no failure, so that it counts for nothing.
      expect(stateOf(state, 'b')).toMatchObject({ phase: 'running', restartedAt: [] })
    })

    it('a child that crashes before it stops is started at once all the same', () => {
      const [stopping] = transition(running(), restartChild('b'), 0, 0)
      const [, effects] = transition(stopping, childEnded('b', 1, crashed), 5, 0)
      expect(effects).toEqual([reportsStop('b', 1), start('b', 2)])
    })

    it('a child whose start fails meanwhile is started again', () => {
      const [stopping] = transition(running(), restartChild('b'), 0, 0)
      const news = { type: 'startFailed', id: 'b', incarnation: 1, error } as const
      const [, effects] = transition(stopping, news, 5, 0)
      expect(effects).toContainEqual(start('b', 2))
    })

    it('a child that waits for its restart is started at once, and only once', () => {
      const [later] = transition(running(), childEnded('b', 1, crashed), 0, 0)
      const [state, effects] = transition(later, restartChild('b'), 5, 0)
      expect(effects).toEqual([start('b', 2), answers('restarting')])
      expect(transition(state, restartDue('b', 1), 100, 0)).toEqual([state, []])
    })

    it('a child that was given up gets another chance, with a clean record', () => {
      const [given] = transition(running({ intensity: 0 }), childEnded('b', 1, crashed), 0, 0)
      const [state, effects] = transition(given, restartChild('b'), 5, 0)
      expect(effects).toEqual([start('b', 2), answers('restarting')])
      expect(stateOf(state, 'b')).toMatchObject({ phase: 'running', restartedAt: [] })
    })

    it('a child that is being restarted already is left to it', () => {
      const [stopping] = transition(running(), restartChild('b'), 0, 0)
      expect(transition(stopping, restartChild('b'), 1, 0)).toEqual([
        stopping,
        [answers('restarting')],
      ])
    })

    it('a child that nobody knows is not', () => {
      const before = running()
      expect(transition(before, restartChild('z'), 0, 0)).toEqual([
        before,
        [answers('no_such_child')],
      ])
    })

    it('no child is started when all are being stopped', () => {
      const [before] = transition(running(), shutdown, 0, 0)
      expect(transition(before, restartChild('a'), 1, 0)).toEqual([
        before,
        [answers('shutting_down')],
      ])
    })
  })

  describe('on a shutdown', () => {
    it('sup_stop: stops one child after the other, the last started first', () => {
      let [state, effects] = transition(running(), shutdown, 0, 0)
      expect(effects).toEqual([stop('c', 1), expectEnd('c', 1)])
      for (const [id, before] of [
        ['c', 'b'],
        ['b', 'a'],
      ] as const) {
        ;[state, effects] = transition(state, childEnded(id, 1, stopped), 0, 0)
        expect(effects).toEqual([reportsStop(id, 1), stop(before, 1), expectEnd(before, 1)])
      }
      ;[state, effects] = transition(state, childEnded('a', 1, stopped), 0, 0)
      expect(effects).toEqual([reportsStop('a', 1), { do: 'answerShutdown', to: shutdownAnswer }])
      expect(phases(state)).toEqual(['terminated', 'terminated', 'terminated'])
    })

    it('sup_stop_timeout: cuts off a child that is not done in time', () => {
      const [stopping] = transition(running(), shutdown, 0, 0)
      const [state, effects] = transition(stopping, overdue('c', 1), 5_000, 0)
      expect(effects).toEqual([{ do: 'kill', id: 'c', incarnation: 1 }])
      const [, more] = transition(state, childEnded('c', 1, killed), 5_000, 0)
      expect(more).toEqual([reportsStop('c', 1), stop('b', 1), expectEnd('b', 1)])
    })

    it('does not mind that the time of a child that has stopped is over', () => {
      const [stopping] = transition(running(), shutdown, 0, 0)
      const [state] = transition(stopping, childEnded('c', 1, stopped), 10, 0)
      expect(transition(state, overdue('c', 1), 5_000, 0)).toEqual([state, []])
    })

    it('passes over children that do not run, and starts none of them any more', () => {
      const [later] = transition(running(), childEnded('c', 1, crashed), 0, 0)
      const [state, effects] = transition(later, shutdown, 1, 0)
      expect(effects).toEqual([stop('b', 1), expectEnd('b', 1)])
      expect(transition(state, restartDue('c', 1), 100, 0)).toEqual([state, []])
    })

    it('goes on when the child that is to stop crashes, or turns out not to have started', () => {
      const [stopping] = transition(running(), shutdown, 0, 0)
      for (const news of [
        childEnded('c', 1, crashed),
        { type: 'startFailed', id: 'c', incarnation: 1, error } as const,
      ]) {
        const [state, effects] = transition(stopping, news, 1, 0)
        expect(effects).toContainEqual(stop('b', 1))
        expect(phases(state)).toEqual(['running', 'stopping', 'terminated'])
      }
    })

    it('answers everybody who asked, and at once who asks afterwards', () => {
      const other = createProbe<'stopped'>().ref
      const again = { type: 'shutdown', replyTo: other } as const
      let [state, effects] = transition(running(), shutdown, 0, 0)
      ;[state, effects] = transition(state, again, 0, 0)
      expect(effects).toEqual([])
      for (const id of ['c', 'b', 'a']) {
        ;[state, effects] = transition(state, childEnded(id, 1, stopped), 0, 0)
      }
      expect(effects.slice(1)).toEqual([
        { do: 'answerShutdown', to: shutdownAnswer },
        { do: 'answerShutdown', to: other },
      ])
      expect(transition(state, again, 0, 0)[1]).toEqual([{ do: 'answerShutdown', to: other }])
    })
  })

  it.each<SupervisorNews>([
    childEnded('b', 1, crashed),
    { type: 'startFailed', id: 'b', incarnation: 1, error },
    restartDue('b', 1),
    overdue('b', 1),
    childEnded('z', 1, crashed),
  ])('takes no notice of what no longer concerns anybody: $type of $id', (news) => {
    const [later] = transition(running(), childEnded('b', 1, crashed), 0, 0)
    const [state] = transition(later, restartDue('b', 1), 100, 0)
    expect(transition(state, news, 200, 0)).toEqual([state, []])
  })
})

describe('the rules of supervision, whatever happens', () => {
  const ids = ['a', 'b', 'c'] as const
  const id = fc.constantFrom(...ids)
  const spec = fc.record({
    intensity: fc.integer({ min: 0, max: 4 }),
    periodMs: fc.integer({ min: 1, max: 300 }),
    shutdownMs: fc.integer({ min: 1, max: 200 }),
    backoff: fc.record({
      minMs: fc.integer({ min: 1, max: 20 }),
      maxMs: fc.integer({ min: 20, max: 100 }),
    }),
  })
  const happening = fc.oneof(
    { weight: 6, arbitrary: fc.record({ what: fc.constant('crash' as const), id }) },
    { weight: 2, arbitrary: fc.record({ what: fc.constant('break' as const), id }) },
    { weight: 2, arbitrary: fc.record({ what: fc.constant('repair' as const), id }) },
    { weight: 4, arbitrary: fc.record({ what: fc.constant('obey' as const), id }) },
    { weight: 8, arbitrary: fc.record({ what: fc.constant('read' as const), id }) },
    {
      weight: 8,
      arbitrary: fc.record({
        what: fc.constant('wait' as const),
        ms: fc.oneof(fc.integer({ min: 0, max: 30 }), fc.integer({ min: 0, max: 400 })),
      }),
    },
    { weight: 2, arbitrary: fc.record({ what: fc.constant('restartChild' as const), id }) },
    { weight: 1, arbitrary: fc.record({ what: fc.constant('restartStranger' as const) }) },
  )
  const jitters = fc.array(fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), {
    minLength: 1,
  })

  it('never break a promise', () => {
    fc.assert(
      fc.property(
        fc.tuple(spec, spec, spec),
        jitters,
        fc.array(happening, { maxLength: 80 }),
        fc.nat({ max: 120 }),
        (specs, jitters, happenings, shutdownAfter) => {
          const world = aWorld(
            ids.map((id, index) => ({ ...defaultChildSpec, ...specs[index], id })),
            jitters,
          )
          for (const [index, happening] of happenings.entries()) {
            if (index === shutdownAfter) world.shutdown()
            world.happens(happening)
          }
          world.comesToRest()
          world.shutdown()
          world.comesToAnEnd()
        },
      ),
      { numRuns: 2_000 },
    )
  })
})

describe('a supervisor', () => {
  const escaped: unknown[] = []
  const escapes = (error: unknown) => void escaped.push(error)

  beforeEach(() => {
    process.on('uncaughtException', escapes).on('unhandledRejection', escapes)
  })
  afterEach(async () => {
    vi.useRealTimers()
    await nextTurn()
    process.off('uncaughtException', escapes).off('unhandledRejection', escapes)
    expect(escaped.splice(0)).toEqual([])
  })

  it('one_for_one: restarts after its back-off the child that crashed, with fresh state', async () => {
    const { a, b, events, views } = await aFamily({ a: {}, b: {} })
    for (const member of [a, b]) tell(member.place, { type: 'count' })
    expect(await ask(b.place, { type: 'read' })).toEqual({ count: 1, life: 'b.1' })

    tell(b.place, { type: 'crash', error })
    await eventually(() => b.lives).toEqual(['b.1', 'b.2'])
    expect(await ask(b.place, { type: 'read' })).toEqual({ count: 0, life: 'b.2' })
    expect(await ask(a.place, { type: 'read' })).toEqual({ count: 1, life: 'a.1' })
    expect(events).toEqual([
      {
        type: 'childFailed',
        id: 'b',
        incarnation: 1,
        error,
        lastMessage: 'crash',
        dropped: 0,
        restartInMs: expect.any(Number),
      },
    ])
    expect(await views()).toEqual([
      { id: 'a', phase: 'running', incarnation: 1, restartsInPeriod: 0, mailbox: 0 },
      { id: 'b', phase: 'running', incarnation: 2, restartsInPeriod: 1, mailbox: 0 },
    ])
  })

  it('does not start a child again before its back-off is over', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    const { a, views } = await aFamily({ a: { backoff: { minMs: 1_000, maxMs: 60_000 } } })
    tell(a.place, { type: 'crash', error })
    await until(async () => (await views())[0]?.phase === 'backoff')
    expect(tell(a.place, { type: 'count' })).toBe(false)
    await expect(ask(a.place, { type: 'read' })).rejects.toThrow(
      new ActorFailedError('a is not running'),
    )
    expect(await views()).toEqual([
      {
        id: 'a',
        phase: 'backoff',
        incarnation: 1,
        restartsInPeriod: 1,
        mailbox: 0,
        error: 'on purpose',
      },
    ])

    vi.advanceTimersByTime(999)
    await views()
    expect(a.lives).toEqual(['a.1'])
    vi.advanceTimersByTime(201)
    await views()
    expect(a.lives).toEqual(['a.1', 'a.2'])
  })

  it('does not let an earlier incarnation reach a later one', async () => {
    const { a } = await aFamily({ a: {} })
    tell(a.place, { type: 'crash', error })
    await eventually(() => a.lives).toEqual(['a.1', 'a.2'])
    const [early, late] = a.addresses
    expect(early && tell(early, { type: 'count' })).toBe(false)
    expect(late && tell(late, { type: 'read', replyTo: createProbe<unknown>().ref })).toBe(true)
    expect(await ask(a.place, { type: 'read' })).toEqual({ count: 0, life: 'a.2' })
  })

  it('tells those whose questions a crash left unanswered, at once', async () => {
    const { a } = await aFamily({ a: {} })
    await ask(a.place, { type: 'read' })
    tell(a.place, { type: 'crash', error })
    await expect(ask(a.place, { type: 'read' }, 10 * 60_000)).rejects.toThrow(
      new ActorFailedError('a.1 ended before it could answer'),
    )
  })

  it('hanging_restart_loop: gives up a child that never starts, and lives on with the others', async () => {
    const { a, b, c, events, views, supervisor } = await aFamily(
      { a: {}, b: { intensity: 3 }, c: {} },
      ({ b }) => {
        b.broken = error
      },
    )
    let ticks = 0
    const clock = setInterval(() => {
      ticks += 1
    })
    await eventually(async () => (await views())[1]?.phase).toBe('given_up')
    clearInterval(clock)

    expect(ticks).toBeGreaterThan(0)
    expect(b.lives).toEqual(['b.1', 'b.2', 'b.3', 'b.4'])
    expect(tell(b.place, { type: 'count' })).toBe(false)
    for (const sibling of [a, c]) {
      tell(sibling.place, { type: 'count' })
      expect(await ask(sibling.place, { type: 'read' })).toMatchObject({ count: 1 })
      expect(sibling.lives).toHaveLength(1)
    }
    expect(events.map(({ type, id }) => `${type} ${id}`)).toEqual([
      'childFailed b',
      'childFailed b',
      'childFailed b',
      'childGivenUp b',
    ])
    expect((await views())[1]).toEqual({
      id: 'b',
      phase: 'given_up',
      incarnation: 4,
      restartsInPeriod: 3,
      mailbox: 0,
      error: 'on purpose',
    })

    b.broken = undefined
    expect(await ask(supervisor, { type: 'restartChild', id: 'b' })).toBe('restarting')
    expect(await ask(b.place, { type: 'read' })).toEqual({ count: 0, life: 'b.5' })
    expect((await views())[1]).toEqual({
      id: 'b',
      phase: 'running',
      incarnation: 5,
      restartsInPeriod: 0,
      mailbox: 0,
    })
  })

  it('gives up a child that crashes whenever it has started', async () => {
    const { a, views, events } = await aFamily({ a: { intensity: 2 } }, ({ a }) => {
      a.ill = true
    })
    await eventually(async () => (await views())[0]?.phase).toBe('given_up')
    expect(a.lives).toEqual(['a.1', 'a.2', 'a.3'])
    expect(a.terminated).toEqual(['a.1', 'a.2', 'a.3'])
    expect(events.map(({ type }) => type)).toEqual(['childFailed', 'childFailed', 'childGivenUp'])
  })

  it.each([true, false])(
    'reports that it gave up a child that is significant: %s',
    async (significant) => {
      const { events, a } = await aFamily({ a: { intensity: 0, significant } })
      tell(a.place, { type: 'crash', error })
      await eventually(() => events).toEqual([
        { type: 'childGivenUp', id: 'a', incarnation: 1, error, significant },
      ])
    },
  )

  it('sup_stop: stops its children in reverse order of their start', async () => {
    const { a, b, c, supervisor, terminated, views } = await aFamily({ a: {}, b: {}, c: {} })
    for (const member of [a, b, c]) tell(member.place, { type: 'count' })
    expect(await ask(supervisor, { type: 'shutdown' })).toBe('stopped')
    expect(terminated).toEqual(['c.1', 'b.1', 'a.1'])
    // What they had been told before was done.
    expect([a, b, c].map(({ count }) => count)).toEqual([1, 1, 1])
    expect((await views()).map(({ phase }) => phase)).toEqual([
      'terminated',
      'terminated',
      'terminated',
    ])
    expect([a, b, c].map(({ place }) => tell(place, { type: 'count' }))).toEqual([
      false,
      false,
      false,
    ])
    expect(await ask(supervisor, { type: 'shutdown' })).toBe('stopped')
    expect(await ask(supervisor, { type: 'restartChild', id: 'a' })).toBe('shutting_down')
  })

  // A handler cannot be interrupted, and one that never returns stops everything, this supervisor
  // too. What can be late is a stop, behind more mail than can be handled in the time there is.
  it('sup_stop_timeout: cuts off a child whose mail would take too long', async () => {
    const { a, b, supervisor, terminated } = await aFamily({ a: {}, b: { shutdownMs: 5 } })
    await ask(b.place, { type: 'read' })
    for (let told = 0; told < 20_000; told += 1) tell(b.place, { type: 'ponder' })
    const question = ask(b.place, { type: 'read' }, 10 * 60_000)
    const left = expect(question).rejects.toThrow('b.1 ended before it could answer')

    expect(await ask(supervisor, { type: 'shutdown' }, 30_000)).toBe('stopped')
    await left
    expect(b.count).toBeGreaterThan(0)
    expect(b.count).toBeLessThan(20_000)
    expect(terminated).toEqual(['b.1', 'a.1'])
    expect(tell(a.place, { type: 'count' })).toBe(false)
  })

  it('can be shut down while a child has just failed to start', async () => {
    const { supervisor, terminated } = anUnbornFamily({ a: {}, b: {} }, ({ b }) => {
      b.broken = error
    })
    expect(await ask(supervisor, { type: 'shutdown' })).toBe('stopped')
    expect(terminated).toEqual(['a.1'])
  })

  it('starts nothing any more after a shutdown, not even what waits for its back-off', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    const { a, b, supervisor, views } = await aFamily({ a: {}, b: {} })
    tell(b.place, { type: 'crash', error })
    await until(async () => (await views())[1]?.phase === 'backoff')
    await ask(supervisor, { type: 'shutdown' })
    vi.advanceTimersByTime(60_000)
    await views()
    expect([a.lives, b.lives]).toEqual([['a.1'], ['b.1']])
    expect((await views()).map(({ phase }) => phase)).toEqual(['terminated', 'backoff'])
  })

  it('goes on with a shutdown when a child crashes at its end', async () => {
    const { b, supervisor, terminated } = await aFamily({ a: {}, b: {} })
    await ask(b.place, { type: 'read' })
    b.clumsy = true
    expect(await ask(supervisor, { type: 'shutdown' })).toBe('stopped')
    expect(terminated).toEqual(['b.1', 'a.1'])
  })

  it('child_adm: restarts a running child on request, without holding it against the child', async () => {
    const { a, supervisor, events, views } = await aFamily({ a: { intensity: 0 } })
    for (const _ of [1, 2, 3]) tell(a.place, { type: 'count' })
    expect(await ask(supervisor, { type: 'restartChild', id: 'a' })).toBe('restarting')
    await eventually(() => a.lives).toEqual(['a.1', 'a.2'])
    expect(a.count).toBe(3)
    expect(a.terminated).toEqual(['a.1'])
    expect(await ask(a.place, { type: 'read' })).toEqual({ count: 0, life: 'a.2' })
    expect(events).toEqual([{ type: 'childStopped', id: 'a', incarnation: 1 }])
    expect(await views()).toEqual([
      { id: 'a', phase: 'running', incarnation: 2, restartsInPeriod: 0, mailbox: 0 },
    ])
  })

  it('restarts at once on request what would have to wait for its back-off', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    const { a, supervisor, views } = await aFamily({ a: {} })
    tell(a.place, { type: 'crash', error })
    await until(async () => (await views())[0]?.phase === 'backoff')
    expect(await ask(supervisor, { type: 'restartChild', id: 'a' })).toBe('restarting')
    expect(await ask(a.place, { type: 'read' })).toEqual({ count: 0, life: 'a.2' })
    vi.advanceTimersByTime(60_000)
    await views()
    expect(a.lives).toEqual(['a.1', 'a.2'])
  })

  it('knows no child that it was not given', async () => {
    const { supervisor } = await aFamily({ a: {} })
    expect(await ask(supervisor, { type: 'restartChild', id: 'z' })).toBe('no_such_child')
  })

  it('shows how much mail a child has', async () => {
    const { a, views } = await aFamily({ a: {} })
    await ask(a.place, { type: 'read' })
    // More than is handled in one go, so that some is left when the supervisor is asked.
    for (let told = 0; told < 10_000; told += 1) tell(a.place, { type: 'count' })
    expect((await views())[0]?.mailbox).toBeGreaterThan(0)
    await eventually(() => a.count).toBe(10_000)
    expect((await views())[0]?.mailbox).toBe(0)
  })

  it('shows no more those restarts that have ceased to count', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] })
    const { a, views } = await aFamily({ a: { periodMs: 1_000 } })
    const restarts = async () => (await views())[0]?.restartsInPeriod
    tell(a.place, { type: 'crash', error })
    await until(async () => (await restarts()) === 1)
    vi.advanceTimersByTime(1_000)
    expect(await restarts()).toBe(1)
    vi.advanceTimersByTime(1)
    expect(await restarts()).toBe(0)
  })

  it('has no children to wait for when it was given none', async () => {
    const { supervisor, views } = await aFamily({})
    expect(await views()).toEqual([])
    expect(await ask(supervisor, { type: 'shutdown' })).toBe('stopped')
  })

  it('ends the process when it fails itself, for nobody is above it', async () => {
    const system = startActorSystem()
    const a = aMember(system, 'a', {}, [])
    const supervisor = startSupervisor(system, [a.child], () => {
      throw error
    })
    await ask(supervisor, { type: 'whichChildren' })
    tell(a.place, { type: 'crash', error: new Error('harmless') })
    await eventually(() => a.terminated).toEqual(['a.1'])
    await eventually(() => escaped.splice(0)).toEqual([
      expect.objectContaining({ message: 'the supervisor crashed', cause: error }),
    ])
  })
})

// The shell: children that keep count, fail as the test says, and note what becomes of them.

type MemberMessage = Readonly<
  | { type: 'count' | 'ponder' }
  | { type: 'crash'; error: unknown }
  | ({ type: 'read' } & Asks<{ count: number; life: string }>)
>

type Options = Partial<Omit<ChildSpec, 'id'>>
type Member = ReturnType<typeof aMember>

function aMember(system: ActorSystem, id: string, options: Options, terminated: string[]) {
  const place = createPlace<MemberMessage>(id)
  const member = {
    place,
    child: child(system, place, behaviour, { backoff: { minMs: 5, maxMs: 20 }, ...options }),
    /** The names of all incarnations that were tried. */
    lives: [] as string[],
    addresses: [] as ActorRef<MemberMessage>[],
    terminated: [] as string[],
    /** Over all lives. */
    count: 0,
    /** While there is an error here, no start succeeds. */
    broken: undefined as unknown,
    /** Crashes as soon as it has started. */
    ill: false,
    /** Throws at its end. */
    clumsy: false,
  }
  return member

  function behaviour(): Behaviour<{ count: number }, MemberMessage> {
    let life = ''
    return {
      init(self) {
        if (life) throw new Error(`${self.name} has lived before, as ${life}`)
        life = self.name
        member.lives.push(life)
        member.addresses.push(self)
        if (member.broken) throw member.broken
        if (member.ill) tell(self, { type: 'crash', error })
        return { count: 0 }
      },
      receive(state, message) {
        switch (message.type) {
          case 'count':
            member.count += 1
            return { count: state.count + 1 }
          case 'ponder': {
            member.count += 1
            const until = performance.now() + 0.1
            while (performance.now() < until);
            return state
          }
          case 'crash':
            throw message.error
          case 'read':
            tell(message.replyTo, { ...state, life })
            return state
        }
      },
      terminate() {
        member.terminated.push(life)
        terminated.push(life)
        if (member.clumsy) throw new Error('clumsy')
      },
    }
  }
}

/** A supervisor that has started children of these names. */
async function aFamily<Id extends string>(
  specs: Record<Id, Options>,
  prepare: (members: Record<Id, Member>) => void = () => {},
) {
  const family = anUnbornFamily(specs, prepare)
  await family.views()
  return family
}

/** The supervisor has been told to start them, and nothing more has happened yet. */
function anUnbornFamily<Id extends string>(
  specs: Record<Id, Options>,
  prepare: (members: Record<Id, Member>) => void,
) {
  const system = startActorSystem()
  const terminated: string[] = []
  const events: SupervisorEvent[] = []
  const entries = Object.entries(specs) as Array<[Id, Options]>
  const members = Object.fromEntries(
    entries.map(([id, options]) => [id, aMember(system, id, options, terminated)]),
  ) as Record<Id, Member>
  prepare(members)
  const supervisor = startSupervisor(
    system,
    Object.values<Member>(members).map(({ child }) => child),
    (event) => events.push(event),
  )
  return {
    ...members,
    supervisor,
    events,
    terminated,
    views: () => ask(supervisor, { type: 'whichChildren' }),
  }
}

/** Waits for it, patiently: the machine may be busy. */
const eventually = <Value>(value: () => Value) =>
  expect.poll(value, { interval: 2, timeout: 30_000 })

/** For a condition that time has nothing to do with. */
async function until(condition: () => Promise<boolean>): Promise<void> {
  while (!(await condition())) await nextTurn()
}

// The rules: states, messages and effects in one word each.

const backoff = { minMs: 100, maxMs: 5_000 }
const specOf = (id: string, changed: Options = {}): ChildSpec => ({
  ...defaultChildSpec,
  backoff,
  ...changed,
  id,
})
const resting = (changed?: Options): SupervisorState =>
  initialSupervisorState(['a', 'b', 'c'].map((id) => specOf(id, changed)))
const running = (changed?: Options): SupervisorState =>
  transition(resting(changed), { type: 'startAll' }, 0, 0)[0]

const phases = (state: SupervisorState) => state.children.map(({ phase }) => phase)
const stateOf = (state: SupervisorState, id: string) =>
  state.children.find(({ spec }) => spec.id === id)

const childEnded = (id: string, incarnation: number, ending: Ending): SupervisorNews => ({
  type: 'childEnded',
  id,
  incarnation,
  ending,
})
const restartDue = (id: string, incarnation: number): SupervisorNews => ({
  type: 'restartDue',
  id,
  incarnation,
})
const overdue = (id: string, incarnation: number): SupervisorNews => ({
  type: 'shutdownOverdue',
  id,
  incarnation,
})
const restartChild = (id: string): SupervisorCommand => ({
  type: 'restartChild',
  id,
  replyTo: restartAnswer,
})
const shutdown: SupervisorCommand = { type: 'shutdown', replyTo: shutdownAnswer }

const start = (id: string, incarnation: number) => ({ do: 'start', id, incarnation })
const stop = (id: string, incarnation: number) => ({ do: 'stop', id, incarnation })
const expectEnd = (id: string, incarnation: number) => ({
  do: 'expectEnd',
  id,
  incarnation,
  withinMs: 5_000,
})
const restartLater = (id: string, incarnation: number, afterMs: unknown) => ({
  do: 'restartLater',
  id,
  incarnation,
  afterMs,
})
const reportsStop = (id: string, incarnation: number) => ({
  do: 'report',
  event: { type: 'childStopped', id, incarnation },
})
const answers = (answer: RestartAnswer) => ({ do: 'answerRestart', to: restartAnswer, answer })

/** How long a child is made to wait when it crashes at these times, always just after its restart. */
function delaysOf(changed: Options, crashes: readonly number[]): Array<number | 'given up'> {
  let state = running(changed)
  return crashes.map((at, index) => {
    const [after, effects] = transition(state, childEnded('b', index + 1, crashed), at, 0)
    ;[state] = transition(after, restartDue('b', index + 1), at, 0)
    const later = effects.find((effect) => effect.do === 'restartLater')
    return later ? later.afterMs : 'given up'
  })
}

// The property: a world that does to the rules all that a shell and its children could do.

type Happening =
  | { what: 'crash' | 'break' | 'repair' | 'obey' | 'read' | 'restartChild'; id: string }
  | { what: 'restartStranger' }
  | { what: 'wait'; ms: number }

/**
 * Performs effects as the shell does, with children, a mailbox and a clock of its own, and holds
 * every decision against the record it keeps itself.
 */
function aWorld(specs: readonly ChildSpec[], jitters: readonly number[]) {
  let state = initialSupervisorState(specs)
  let now = 0
  let drawn = 0
  let shuttingDown = false
  let asked = 0
  let answered = 0
  const mailbox: Array<SupervisorCommand | SupervisorNews> = [{ type: 'startAll' }]
  const timers: Array<{ at: number; news: SupervisorNews }> = []
  const children = new Map(
    specs.map((spec) => [
      spec.id,
      {
        spec,
        living: undefined as number | undefined,
        toldToStop: false,
        broken: false,
        incarnation: 0,
        /** When it failed, since an operator last gave it a clean record. */
        failures: [] as number[],
        givenUp: false,
      },
    ]),
  )
  const record = (id: string) => {
    const found = children.get(id)
    if (!found) throw new Error(`no child ${id}`)
    return found
  }

  function ends(id: string, ending: Ending): void {
    const child = record(id)
    if (child.living === undefined) return
    mailbox.push(childEnded(id, child.living, ending))
    child.living = undefined
    child.toldToStop = false
  }

  function read(): void {
    const message = mailbox.shift()
    if (!message) return
    const before = state
    const wasPhase = 'id' in message && stateOf(before, message.id)?.phase
    if (message.type === 'shutdown') shuttingDown = true
    // The clean record comes with the decision to start, which only a restart of an idle child is.
    if (message.type === 'restartChild' && children.has(message.id) && !shuttingDown) {
      const child = record(message.id)
      child.givenUp = false
      if (wasPhase === 'backoff' || wasPhase === 'given_up') child.failures = []
    }
    const jitter = jitters[drawn++ % jitters.length] ?? 0
    const [next, effects] = transition(before, message, now, jitter)
    state = next

    for (const { spec } of before.children) {
      const concerned =
        message.type === 'startAll' || shuttingDown || ('id' in message && message.id === spec.id)
      holds(
        concerned || stateOf(next, spec.id) === stateOf(before, spec.id),
        `${spec.id} is left alone by ${message.type}`,
      )
    }
    for (const effect of effects) perform(effect, message, jitter)
    for (const child of next.children) agrees(child)
  }

  function perform(
    effect: SupervisorEffect,
    cause: SupervisorCommand | SupervisorNews,
    jitter: number,
  ): void {
    if ('id' in effect && 'id' in cause && !shuttingDown) {
      holds(effect.id === cause.id, `${cause.type} of ${cause.id} does nothing to ${effect.id}`)
    }
    switch (effect.do) {
      case 'start': {
        const child = record(effect.id)
        const { id, incarnation } = effect
        holds(!shuttingDown, 'nothing starts in a shutdown')
        holds(child.living === undefined, `${id} has one life at a time`)
        holds(!child.givenUp, `${id} stays given up until an operator restarts it`)
        holds(incarnation > child.incarnation, `each life of ${id} has a higher number`)
        child.incarnation = incarnation
        if (child.broken) mailbox.push({ type: 'startFailed', id, incarnation, error })
        else child.living = incarnation
        break
      }
      case 'stop': {
        const child = record(effect.id)
        if (child.living === effect.incarnation) child.toldToStop = true
        if (shuttingDown) {
          const index = specs.indexOf(child.spec)
          const later = state.children.slice(index + 1).map(({ phase }) => phase)
          holds(!later.includes('running'), `${effect.id} stops after all that started later`)
        }
        break
      }
      case 'kill':
        holds(
          (record(effect.id).living ?? effect.incarnation) === effect.incarnation,
          `only the life of ${effect.id} that is late is cut off`,
        )
        ends(effect.id, killed)
        break
      case 'restartLater': {
        const { spec, failures } = record(effect.id)
        const recent = failures.filter((at) => now - at <= spec.periodMs).length
        failures.push(now)
        holds(recent < spec.intensity, `${spec.id} is not restarted too often`)
        const leastMs = Math.min(spec.backoff.maxMs, spec.backoff.minMs * 2 ** recent)
        const afterMs = leastMs * (1 + 0.2 * jitter)
        holds(Math.abs(effect.afterMs - afterMs) < 1e-6, `${spec.id} waits ${afterMs} ms`)
        timers.push({ at: now + effect.afterMs, news: { ...effect, type: 'restartDue' } })
        break
      }
      case 'expectEnd':
        timers.push({ at: now + effect.withinMs, news: { ...effect, type: 'shutdownOverdue' } })
        break
      case 'report': {
        const { event } = effect
        const child = record(event.id)
        holds(event.incarnation === child.incarnation, 'what is reported is about the last life')
        if (event.type !== 'childGivenUp') break
        const recent = child.failures.filter((at) => now - at <= child.spec.periodMs).length
        holds(recent >= child.spec.intensity, `${event.id} is not given up too early`)
        child.givenUp = true
        break
      }
      case 'answerRestart':
      case 'answerShutdown':
        answered += 1
        break
    }
  }

  /** What the rules believe of a child is so, or the news of the difference is on its way. */
  function agrees({ spec: { id }, phase, incarnation }: ChildState): void {
    const child = record(id)
    const news = mailbox.some(
      (message) =>
        (message.type === 'childEnded' || message.type === 'startFailed') &&
        message.id === id &&
        message.incarnation === incarnation,
    )
    const lives = child.living === incarnation
    const waits = [...mailbox, ...timers.map(({ news }) => news)].some(
      (message) =>
        message.type === 'restartDue' && message.id === id && message.incarnation === incarnation,
    )
    const active = phase === 'running' || phase === 'stopping'
    holds(incarnation === child.incarnation, `the last life of ${id} is known`)
    holds((lives || news) === active, `${id} is ${phase}`)
    holds((phase === 'given_up') === child.givenUp, `${id} is given up when it says so`)
    holds(phase !== 'stopping' || news || child.toldToStop, `${id} knows that it is to stop`)
    holds(phase !== 'backoff' || shuttingDown || waits, `${id} will be started again`)
  }

  function wait(ms: number): void {
    now += ms
    timers.sort((one, other) => one.at - other.at)
    while (timers[0] && timers[0].at <= now) {
      const timer = timers.shift()
      if (timer) mailbox.push(timer.news)
    }
  }

  function happens(happening: Happening): void {
    switch (happening.what) {
      case 'crash':
        ends(happening.id, crashed)
        break
      case 'break':
      case 'repair':
        record(happening.id).broken = happening.what === 'break'
        break
      case 'obey':
        if (record(happening.id).toldToStop) ends(happening.id, stopped)
        break
      case 'read':
        read()
        break
      case 'wait':
        while (mailbox.length > 0) read()
        wait(happening.ms)
        break
      case 'restartChild':
        asked += 1
        mailbox.push(restartChild(happening.id))
        break
      case 'restartStranger':
        asked += 1
        mailbox.push(restartChild('z'))
        break
    }
  }

  /** Everything is read, and every timer is over. */
  function settles(children: { obey: boolean }): void {
    for (let rounds = 0; mailbox.length > 0 || timers.length > 0; rounds += 1) {
      holds(rounds < 1_000, 'it comes to rest')
      while (mailbox.length > 0) read()
      for (const { id } of specs) if (children.obey && record(id).toldToStop) ends(id, stopped)
      wait(10)
    }
  }

  return {
    happens,
    shutdown(): void {
      asked += 1
      mailbox.push(shutdown)
    },
    /** Nothing is forgotten: a child runs, or was given up, unless all were told to stop. */
    comesToRest(): void {
      for (const child of children.values()) child.broken = false
      settles({ obey: true })
      holds(answered === asked, 'every question is answered once')
      if (shuttingDown) return
      for (const { phase, spec } of state.children) {
        const right = record(spec.id).givenUp ? 'given_up' : 'running'
        holds(phase === right, `${spec.id} is ${right} in the end`)
      }
    },
    /** A shutdown is answered, even when no child does as it is told. */
    comesToAnEnd(): void {
      settles({ obey: false })
      holds(answered === asked, 'every question is answered once, a shutdown too')
      for (const { spec, living } of children.values()) {
        holds(living === undefined, `${spec.id} has ended`)
      }
    },
  }
}

function holds(condition: boolean, promise: string): void {
  if (!condition) throw new Error(`broken: ${promise}`)
}
