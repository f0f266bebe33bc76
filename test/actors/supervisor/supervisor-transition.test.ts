import { describe, expect, it } from 'vitest'
import { answer, type Ending } from '../../../src/actors/actor.ts'
import type { ChildOptions } from '../../../src/actors/supervisor/supervisor.ts'
import type { SupervisorNews } from '../../../src/actors/supervisor/supervisor-protocol.ts'
import { startAll } from '../../../src/actors/supervisor/supervisor-state.ts'
import { transition } from '../../../src/actors/supervisor/supervisor-transition.ts'
import { createProbe } from '../../support/probe.ts'
import {
  aFamily,
  answers,
  answersShutdown,
  childEnded,
  crashed,
  error,
  expectEnd,
  killed,
  overdue,
  phases,
  reportsRestartAsked,
  reportsStop,
  restartChild,
  restartDue,
  restartLater,
  running,
  shutdown,
  specOf,
  start,
  started,
  startFailed,
  starting,
  stateOf,
  stop,
  stopped,
} from '../../support/supervision.ts'

/*
 * The words before a colon are names of cases in OTP's supervisor_SUITE. Where OTP's supervisor
 * ends itself (`escalation`), ours gives the child up and lives on.
 */

describe('the start of all children', () => {
  it('sup_start_normal: comes in their order, all at once', () => {
    const [state, effects] = starting()
    expect(effects).toEqual([start('a', 1), start('b', 1), start('c', 1)])
    expect(phases(state)).toEqual(['starting', 'starting', 'starting'])
  })

  it('sup_start_fail: goes on without a child that does not start, and tries it again later', () => {
    const [before] = starting()
    const [state, effects] = transition(before, startFailed('a', 1), 1_000, 0)
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
    expect(phases(state)).toEqual(['backoff', 'starting', 'starting'])
    expect(transition(state, restartDue('a', 1), 1_100, 0)[1]).toEqual([start('a', 2)])
  })

  it('child_specs: is refused when two children have the same id', () => {
    expect(() => startAll([specOf('a'), specOf('b'), specOf('a')])).toThrow(
      'two children are called a',
    )
  })
})

describe('the restart of a child', () => {
  const endings = {
    // An actor ends in order only when it is stopped. With mail left, that is OTP's `shutdown`.
    normal: stopped,
    shutdown: { reason: 'stopped', dropped: 7 },
    abnormal: crashed,
    'abnormal, by a kill': killed,
    'abnormal, at its end': { reason: 'crashed', error, dropped: 0 },
  } as const satisfies Record<string, Ending>
  it.each(Object.entries(endings))('permanent_%s: comes after a back-off', (_how, ending) => {
    const family = aFamily()
    expect(family.hears(childEnded('c', 1, ending))).toEqual([
      'childFailed c.1',
      'restartLater c.1',
    ])
    expect(family.child('c')).toMatchObject({ phase: 'backoff', incarnation: 1 })
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

  it('says so of a child that somebody else killed', () => {
    const [state] = transition(running(), childEnded('b', 1, killed), 1_000, 0)
    expect(stateOf(state, 'b')).toMatchObject({ phase: 'backoff', error: 'was killed' })
  })

  it.each<SupervisorNews>([
    started('b', 1),
    childEnded('b', 1, crashed),
    startFailed('b', 1),
    restartDue('b', 1),
    overdue('b', 1),
    childEnded('z', 1, crashed),
  ])('does not follow from what no longer concerns anybody: $type of $id', (news) => {
    const family = aFamily()
    family.hears(childEnded('b', 1, crashed))
    family.hears(restartDue('b', 1))
    for (const before of [family.state(), transition(family.state(), started('b', 2), 0, 0)[0]]) {
      expect(transition(before, news, 200, 0)).toEqual([before, []])
    }
  })

  it.each([started('b', 1), childEnded('b', 1, crashed), startFailed('b', 1)])(
    'is not counted twice: $type of a child that has ended',
    (news) => {
      const [before] = transition(running(), childEnded('b', 1, crashed), 0, 0)
      expect(transition(before, news, 1, 0)).toEqual([before, []])
    },
  )
})

describe('the wait before a restart', () => {
  it('is twice as long each time, up to a limit', () => {
    const spec = { intensity: 9, backoff: { minMs: 100, maxMs: 1_000 } }
    expect(delaysOf(spec, [0, 1, 2, 3, 4, 5, 6])).toEqual([100, 200, 400, 800, 1_000, 1_000, 1_000])
  })

  it('grows by the factor that is wanted', () => {
    const spec = (factor: number) => ({ backoff: { minMs: 100, maxMs: 5_000, factor } })
    expect(delaysOf(spec(3), [0, 1, 2])).toEqual([100, 300, 900])
    expect(delaysOf(spec(1), [0, 1, 2])).toEqual([100, 100, 100])
  })

  it('is up to a fifth longer, or what else is wanted, so that not all come back at once', () => {
    for (const [jitter, random, afterMs] of [
      [0.2, 0, 100],
      [0.2, 0.5, 110],
      [0.2, 0.999, 119.98],
      [0, 0.999, 100],
      [1, 0.5, 150],
    ] as const) {
      const before = running({ all: { backoff: { jitter } } })
      const [, effects] = transition(before, childEnded('b', 1, crashed), 0, random)
      expect(effects).toContainEqual(restartLater('b', 1, expect.closeTo(afterMs)))
    }
  })

  it('is short again for a child that has run for long since it was started', () => {
    const spec = { intensity: 9, backoff: { resetAfterMs: 1_000 } }
    expect(delaysOf(spec, [0, 999, 1_998, 2_998])).toEqual([100, 200, 400, 100])
  })

  it('is not short again only because the last one was long', () => {
    const family = aFamily({
      all: { backoff: { minMs: 5_000, maxMs: 9_000, resetAfterMs: 1_000 } },
    })
    family.hears(childEnded('b', 1, crashed), 0)
    family.hears(restartDue('b', 1), 5_000)
    family.hears(started('b', 2), 5_000)
    const [, effects] = transition(family.state(), childEnded('b', 2, crashed), 5_999, 0)
    expect(effects).toContainEqual(restartLater('b', 2, 9_000))
  })

  it('is not short again because restarts have ceased to count', () => {
    const spec = { intensity: 1, periodMs: 10, backoff: { resetAfterMs: 1_000 } }
    expect(delaysOf(spec, [0, 100, 200])).toEqual([100, 200, 400])
  })
})

describe('one_for_one', () => {
  it('one_for_one: leaves the other children as they are', () => {
    const before = running()
    const [later] = transition(before, childEnded('b', 1, crashed), 1_000, 0)
    const [after] = transition(later, restartDue('b', 1), 1_100, 0)
    for (const state of [later, after]) {
      expect(stateOf(state, 'a')).toBe(stateOf(before, 'a'))
      expect(stateOf(state, 'c')).toBe(stateOf(before, 'c'))
    }
  })

  it('one_for_one_escalation: gives a child up on one crash too many within the period', () => {
    const spec = { intensity: 2, periodMs: 1_000 }
    expect(delaysOf(spec, [0, 500, 1_000])).toEqual([100, 200, 'given up'])
    expect(delaysOf(spec, [0, 500, 1_001])).toEqual([100, 200, 400])
    expect(delaysOf({ intensity: 0 }, [0])).toEqual(['given up'])
  })

  it('one_for_one_escalation: leaves the other children as they are', () => {
    const family = aFamily({ b: { intensity: 0 } })
    expect(family.hears(childEnded('b', 1, crashed))).toEqual(['childGivenUp b.1'])
    expect(family.phases()).toEqual(['running', 'given_up', 'running'])
  })

  it('one_for_one_other_child_fails_restart: each child has its own count and its own wait', () => {
    const family = aFamily({ all: { intensity: 1 } })
    family.hears(childEnded('a', 1, crashed))
    expect(family.hears(childEnded('b', 1, crashed))).toEqual([
      'childFailed b.1',
      'restartLater b.1',
    ])
    expect(family.hears(restartDue('a', 1))).toEqual(['start a.2'])
    expect(family.hears(startFailed('a', 2))).toEqual(['childGivenUp a.2'])
    expect(family.hears(restartDue('b', 1))).toEqual(['start b.2'])
    expect(family.phases()).toEqual(['given_up', 'starting', 'running'])
  })

  it('says that it gave a child up, why, and whether the service can do without', () => {
    for (const significant of [true, false]) {
      const before = running({ all: { intensity: 0, significant } })
      const [state, effects] = transition(before, childEnded('b', 1, crashed), 0, 0)
      const event = { type: 'childGivenUp', id: 'b', incarnation: 1, error, significant }
      expect(effects).toEqual([{ do: 'report', event }])
      expect(phases(state)).toEqual(['running', 'given_up', 'running'])
    }
  })
})

describe('a request to restart', () => {
  it('child_adm: stops a running child first, and starts it when it has ended', () => {
    const [stopping, effects] = transition(running(), restartChild('b'), 0, 0)
    expect(effects).toEqual([
      reportsRestartAsked('b', 1),
      stop('b', 1),
      expectEnd('b', 1),
      answers('restarting'),
    ])
    const [state, more] = transition(stopping, childEnded('b', 1, stopped), 5, 0)
    expect(more).toEqual([reportsStop('b', 1), start('b', 2)])
    // It is no failure, so that it counts for nothing.
    expect(stateOf(state, 'b')).toMatchObject({ phase: 'starting', restartedAt: [] })
  })

  it('starts a child that crashes before it stops at once all the same', () => {
    const [stopping] = transition(running(), restartChild('b'), 0, 0)
    const [, effects] = transition(stopping, childEnded('b', 1, crashed), 5, 0)
    const known = { error, lastMessage: 'run', dropped: 2 }
    expect(effects).toEqual([reportsStop('b', 1, known), start('b', 2)])
  })

  it('starts a child again whose start fails meanwhile', () => {
    const family = aFamily({}, starting()[0])
    expect(family.hears(restartChild('b'))).toEqual(['stop b.1', 'answer restarting'])
    expect(family.hears(startFailed('b', 1))).toEqual(['childStopped b.1', 'start b.2'])
  })

  it('starts at once, and only once, a child that waits for its restart', () => {
    const family = aFamily()
    family.hears(childEnded('b', 1, crashed))
    expect(family.hears(restartChild('b'))).toEqual(['start b.2', 'answer restarting'])
    expect(family.hears(restartDue('b', 1))).toEqual([])
  })

  it('gives a child that was given up another chance, with a clean record', () => {
    const family = aFamily({ all: { intensity: 1 } })
    family.hears(childEnded('b', 1, crashed))
    family.hears(restartDue('b', 1))
    family.hears(childEnded('b', 2, crashed))
    expect(family.child('b')).toMatchObject({ phase: 'given_up', error: 'on purpose' })
    expect(family.hears(restartChild('b'))).toEqual(['start b.3', 'answer restarting'])
    expect(family.child('b')).toEqual({
      ...family.child('b'),
      phase: 'starting',
      restartedAt: [],
      waits: 0,
    })
  })

  it('leaves a child to it that is being restarted already', () => {
    const [stopping] = transition(running(), restartChild('b'), 0, 0)
    expect(transition(stopping, restartChild('b'), 1, 0)).toEqual([
      stopping,
      [reportsRestartAsked('b', 1), answers('restarting')],
    ])
  })

  it('child_adm: is refused for a child that nobody knows', () => {
    const before = running()
    const [state, effects] = transition(before, restartChild('z'), 0, 0)
    expect([state, effects]).toEqual([before, [answers('no_such_child')]])
  })

  it('is refused when all are being stopped', () => {
    const [before] = transition(running(), shutdown, 0, 0)
    const [state, effects] = transition(before, restartChild('a'), 1, 0)
    expect([state, effects]).toEqual([before, [answers('shutting_down')]])
  })
})

describe('a shutdown', () => {
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
    expect(effects).toEqual([reportsStop('a', 1), answersShutdown])
    expect(phases(state)).toEqual(['terminated', 'terminated', 'terminated'])
  })

  it('sup_stop_timeout: cuts off a child that is not done in time, and says so', () => {
    const [stopping, effects] = transition(running({ c: { shutdownMs: 20 } }), shutdown, 0, 0)
    expect(effects).toEqual([stop('c', 1), expectEnd('c', 1, 20)])
    const [state, cut] = transition(stopping, overdue('c', 1), 20, 0)
    expect(cut).toEqual([{ do: 'kill', id: 'c', incarnation: 1 }])
    const [, more] = transition(state, childEnded('c', 1, { ...killed, error }), 20, 0)
    expect(more).toEqual([
      reportsStop('c', 1, { killed: true, error, dropped: 3 }),
      stop('b', 1),
      expectEnd('b', 1),
    ])
  })

  it('does not mind that the time of a child that has stopped is over', () => {
    const [stopping] = transition(running(), shutdown, 0, 0)
    const [state] = transition(stopping, childEnded('c', 1, stopped), 10, 0)
    expect(transition(state, overdue('c', 1), 5_000, 0)).toEqual([state, []])
  })

  it('passes over children that do not run, and starts none of them any more', () => {
    const family = aFamily()
    family.hears(childEnded('c', 1, crashed))
    family.hears(shutdown)
    family.hears(childEnded('b', 1, stopped))
    expect(family.hears(childEnded('a', 1, stopped))).toEqual([
      'childStopped a.1',
      'answer stopped',
    ])
    expect(family.hears(restartDue('c', 1))).toEqual([])
    expect(family.phases()).toEqual(['terminated', 'terminated', 'terminated'])
  })

  it('goes before restarts that have not come about yet', () => {
    const family = aFamily()
    family.hears(childEnded('a', 1, crashed))
    family.hears(restartChild('c'))
    expect(family.hears(shutdown)).toEqual([])
    expect(family.hears(childEnded('c', 1, stopped))).toEqual(['childStopped c.1', 'stop b.1'])
    expect(family.hears(childEnded('b', 1, stopped))).toEqual([
      'childStopped b.1',
      'answer stopped',
    ])
    expect(family.phases()).toEqual(['terminated', 'terminated', 'terminated'])
  })

  it('goes on when the child that is to stop crashes, or turns out not to have started', () => {
    for (const news of [childEnded('c', 1, crashed), startFailed('c', 1)]) {
      const family = aFamily()
      family.hears(shutdown)
      expect(family.hears(news)).toEqual(['childStopped c.1', 'stop b.1'])
    }
  })

  it('does not restart a child that crashes before its turn to stop', () => {
    const family = aFamily()
    family.hears(shutdown)
    expect(family.hears(childEnded('b', 1, crashed))).toEqual(['childStopped b.1'])
    expect(family.hears(childEnded('c', 1, stopped))).toEqual(['childStopped c.1', 'stop a.1'])
    expect(family.phases()).toEqual(['stopping', 'terminated', 'terminated'])
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
    expect(effects.slice(1)).toEqual([answersShutdown, answer(other, 'stopped')])
    expect(transition(state, again, 0, 0)[1]).toEqual([answer(other, 'stopped')])
  })
})

/** How long a child is made to wait when it crashes at these times, always just after its restart. */
function delaysOf(changed: ChildOptions, crashes: readonly number[]): Array<number | 'given up'> {
  let state = running({ all: changed })
  return crashes.map((at, index) => {
    const life = index + 1
    const [after, effects] = transition(state, childEnded('b', life, crashed), at, 0)
    ;[state] = transition(after, restartDue('b', life), at, 0)
    ;[state] = transition(state, started('b', life + 1), at, 0)
    const later = effects.find((effect) => effect.do === 'restartLater')
    return later ? later.afterMs : 'given up'
  })
}
