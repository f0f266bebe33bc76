import * as fc from 'fast-check'
import { describe, it } from 'vitest'
import type { Ending } from '../../../src/actors/actor.ts'
import {
  type ChildSpec,
  type ChildState,
  defaultChildSpec,
  type Strategy,
  type SupervisorCommand,
  type SupervisorEffect,
  type SupervisorNews,
} from '../../../src/actors/supervisor/supervisor-protocol.ts'
import { initialSupervisorState } from '../../../src/actors/supervisor/supervisor-state.ts'
import { transition } from '../../../src/actors/supervisor/supervisor-transition.ts'
import {
  childEnded,
  crashed,
  killed,
  restartChild,
  shutdown,
  started,
  startFailed,
  stateOf,
  stopped,
  strategies,
  terminateChild,
} from '../../support/supervision.ts'

const ids = ['a', 'b', 'c', 'd'] as const

describe.each(strategies)('the rules of supervision by %s, whatever happens', (strategy) => {
  const id = fc.constantFrom(...ids)
  const spec = fc.record({
    restart: fc.oneof(
      { weight: 3, arbitrary: fc.constant('permanent' as const) },
      { weight: 1, arbitrary: fc.constantFrom('transient' as const, 'temporary' as const) },
    ),
    intensity: fc.integer({ min: 0, max: 6 }),
    periodMs: fc.integer({ min: 1, max: 300 }),
    shutdown: fc.oneof(
      { weight: 4, arbitrary: fc.integer({ min: 1, max: 200 }) },
      {
        weight: 1,
        arbitrary: fc.constantFrom('brutal_kill' as const, Number.POSITIVE_INFINITY),
      },
    ),
    backoff: fc.record({
      minMs: fc.integer({ min: 1, max: 20 }),
      maxMs: fc.integer({ min: 20, max: 100 }),
      factor: fc.constantFrom(1, 1.5, 2, 10),
      jitter: fc.constantFrom(0, 0.2, 1),
      resetAfterMs: fc.integer({ min: 1, max: 300 }),
    }),
  })
  const happening = fc.oneof(
    { weight: 6, arbitrary: fc.record({ what: fc.constant('crash' as const), id }) },
    { weight: 1, arbitrary: fc.record({ what: fc.constantFrom('leave', 'vanish'), id }) },
    { weight: 2, arbitrary: fc.record({ what: fc.constant('break' as const), id }) },
    { weight: 2, arbitrary: fc.record({ what: fc.constant('repair' as const), id }) },
    { weight: 6, arbitrary: fc.record({ what: fc.constant('obey' as const), id }) },
    { weight: 10, arbitrary: fc.record({ what: fc.constant('read' as const), id }) },
    {
      weight: 8,
      arbitrary: fc.record({
        what: fc.constant('wait' as const),
        ms: fc.oneof(fc.integer({ min: 0, max: 30 }), fc.integer({ min: 0, max: 400 })),
      }),
    },
    { weight: 2, arbitrary: fc.record({ what: fc.constant('restartChild' as const), id }) },
    { weight: 1, arbitrary: fc.record({ what: fc.constant('terminateChild' as const), id }) },
    { weight: 1, arbitrary: fc.record({ what: fc.constantFrom('askForStranger', 'startAll') }) },
  )
  const randoms = fc.array(fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), {
    minLength: 1,
  })

  it('never break a promise', () => {
    fc.assert(
      fc.property(
        fc.tuple(spec, spec, spec, spec),
        randoms,
        fc.array(happening, { maxLength: 120, size: 'max' }),
        fc.nat({ max: 150 }),
        (specs, randoms, happenings, shutdownAfter) => {
          const world = aWorld(
            strategy,
            ids.map((id, index) => ({ ...defaultChildSpec, ...specs[index], id })),
            randoms,
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
      { numRuns: 800 },
    )
  })
})

type Message = SupervisorCommand | SupervisorNews

type Happening =
  | {
      what:
        | 'crash'
        | 'leave'
        | 'vanish'
        | 'break'
        | 'repair'
        | 'obey'
        | 'read'
        | 'restartChild'
        | 'terminateChild'
      id: string
    }
  | { what: 'askForStranger' | 'startAll' }
  | { what: 'wait'; ms: number }

/**
 * Does to the rules all that a shell and its children could do: performs effects with children, a
 * mailbox and a clock of its own, and holds every decision against the record it keeps itself.
 */
function aWorld(strategy: Strategy, specs: readonly ChildSpec[], randoms: readonly number[]) {
  let state = initialSupervisorState(specs, strategy)
  /** What it was before the message that is being read. */
  let before = state
  let now = 0
  let drawn = 0
  let shuttingDown = false
  let asked = 0
  let answered = 0
  const mailbox: Message[] = [{ type: 'startAll' }]
  const timers: Array<{ at: number; news: SupervisorNews }> = []
  const children = new Map(specs.map((spec, index) => [spec.id, aRecord(spec, index)]))
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
    before = state
    const random = randoms[drawn++ % randoms.length] ?? 0
    notes(message)
    const [next, effects] = transition(before, message, now, random)
    state = next
    for (const child of before.children) {
      holds(
        mayChange(child, message) || stateOf(next, child.spec.id) === child,
        `${child.spec.id} is left alone by ${message.type}`,
      )
    }
    for (const effect of effects) perform(effect, message, random)
    for (const child of next.children) agrees(child)
  }

  /** What the record says from now on, whatever the rules decide. */
  function notes(message: Message): void {
    if (message.type === 'shutdown') shuttingDown = true
    if (!('id' in message)) return
    const child = children.get(message.id)
    const known = stateOf(state, message.id)
    if (!child || !known) return
    const runs = known.phase === 'starting' || known.phase === 'running'
    switch (message.type) {
      case 'restartChild':
        if (shuttingDown) break
        child.isWanted = true
        child.isGivenUp = false
        if (!runs && known.phase !== 'stopping') {
          child.failures = []
          child.waits = 0
        }
        break
      case 'terminateChild':
        child.isWanted = false
        child.isGivenUp = false
        break
      case 'childStarted':
        if (known.incarnation === message.incarnation) child.startedAt = now
        break
      case 'startFailed':
      case 'childEnded': {
        const { restart } = child.spec
        const inOrder = message.type === 'childEnded' && message.ending.reason === 'stopped'
        if (!runs) break
        if (restart === 'temporary' || (restart === 'transient' && inOrder)) child.isWanted = false
        break
      }
    }
  }

  function mayChange({ spec, phase }: ChildState, message: Message): boolean {
    if (message.type === 'startAll' || shuttingDown) return true
    if ('id' in message && message.id === spec.id) return true
    if (strategy === 'one_for_one' || !('id' in message)) return false
    if (strategy === 'one_for_all' || !children.has(message.id)) return true
    // Those before the one that failed go on, unless they were not going on already.
    const isBefore = record(spec.id).index < record(message.id).index
    return !(isBefore && (phase === 'running' || phase === 'starting'))
  }

  function perform(effect: SupervisorEffect, cause: Message, random: number): void {
    if ('id' in effect && 'id' in cause && !shuttingDown && strategy === 'one_for_one') {
      holds(effect.id === cause.id, `${cause.type} of ${cause.id} does nothing to ${effect.id}`)
    }
    switch (effect.do) {
      case 'start': {
        const child = record(effect.id)
        const { id, incarnation } = effect
        holds(!shuttingDown, 'nothing starts in a shutdown')
        holds(child.living === undefined, `${id} has one life at a time`)
        holds(child.isWanted, `${id} is not started when nobody wants it`)
        holds(!child.isGivenUp, `${id} stays given up until an operator restarts it`)
        holds(incarnation > child.incarnation, `each life of ${id} has a higher number`)
        holds(!needsAnother(id), `${id} does not start before those that it needs`)
        child.incarnation = incarnation
        child.startedAt = undefined
        if (child.broken) {
          mailbox.push(startFailed(id, incarnation))
        } else {
          child.living = incarnation
          mailbox.push(started(id, incarnation))
        }
        break
      }
      case 'stop':
        holds(record(effect.id).spec.shutdown !== 'brutal_kill', `${effect.id} is not asked`)
        if (record(effect.id).living === effect.incarnation) record(effect.id).toldToStop = true
        stopsInOrder(effect.id, cause)
        break
      case 'kill': {
        const child = record(effect.id)
        const isLate = cause.type === 'shutdownOverdue'
        holds(isLate || child.spec.shutdown === 'brutal_kill', `${effect.id} may stop in order`)
        holds(
          (child.living ?? effect.incarnation) === effect.incarnation,
          `only the life of ${effect.id} that is late is cut off`,
        )
        if (!isLate) stopsInOrder(effect.id, cause)
        ends(effect.id, killed)
        break
      }
      case 'restartLater': {
        const child = record(effect.id)
        const { spec, failures } = child
        const { minMs, maxMs, factor, jitter, resetAfterMs } = spec.backoff
        const recent = failures.filter((at) => now - at <= spec.periodMs).length
        failures.push(now)
        holds(child.isWanted, `${spec.id} is not restarted when its restart type says so`)
        holds(recent < spec.intensity, `${spec.id} is not restarted too often`)
        if (child.startedAt !== undefined && now - child.startedAt >= resetAfterMs) child.waits = 0
        const afterMs = Math.min(maxMs, minMs * factor ** child.waits) * (1 + jitter * random)
        child.waits += 1
        holds(Math.abs(effect.afterMs - afterMs) < 1e-6, `${spec.id} waits ${afterMs} ms`)
        timers.push({ at: now + effect.afterMs, news: { ...effect, type: 'restartDue' } })
        leavesBystanders(spec.id)
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
        holds(child.isWanted, `${event.id} is not given up when nobody wants it`)
        child.isGivenUp = true
        leavesBystanders(event.id)
        break
      }
      case 'answerTerminate':
        answered += 1
        if (effect.answer === 'terminated' && 'id' in cause) {
          holds(record(cause.id).living === undefined, `${cause.id} has ended when that is said`)
        }
        break
      case 'answerShutdown':
        answered += 1
        for (const { spec, living } of children.values()) {
          holds(living === undefined, `${spec.id} has ended when that is said`)
        }
        break
      case 'answerRestart':
        answered += 1
        break
    }
  }

  /** Whoever is stopped for another's sake is the last of those that are. */
  function stopsInOrder(id: string, cause: Message): void {
    if ('replyTo' in cause && 'id' in cause) return
    const later = state.children.slice(record(id).index + 1)
    holds(!later.some(({ phase }) => phase === 'stopping'), `${id} stops after those after it`)
    if (!shuttingDown) return
    holds(!later.some(({ phase }) => phase === 'running'), `${id} stops after those after it`)
  }

  /** A temporary one that ran until now has run for the last time. */
  function leavesBystanders(failed: string): void {
    for (const { spec, phase } of before.children) {
      const ran = phase === 'starting' || phase === 'running'
      const child = record(spec.id)
      if (spec.restart === 'temporary' && ran && dependsOn(child.index, failed)) {
        child.isWanted = false
      }
    }
  }

  function dependsOn(index: number, id: string): boolean {
    const other = record(id).index
    if (strategy === 'one_for_one' || other === index) return false
    return strategy === 'one_for_all' || other < index
  }

  /** Whether somebody without whom it is not to run does not, but should. */
  function needsAnother(id: string): boolean {
    const { index } = record(id)
    return state.children.some(({ spec, phase }) => {
      const other = record(spec.id)
      if (strategy === 'one_for_one' || other.index === index) return false
      if (other.index < index) return phase !== 'running' && phase !== 'terminated'
      if (phase === 'stopping') return true
      return strategy === 'one_for_all' && (phase === 'backoff' || phase === 'given_up')
    })
  }

  /** What the rules believe of a child is so, or the news of the difference is on its way. */
  function agrees({ spec: { id }, phase, incarnation }: ChildState): void {
    const child = record(id)
    const isOnItsWay = (...types: ReadonlyArray<Message['type']>) =>
      [...mailbox, ...timers.map(({ news }) => news)].some(
        (message) =>
          types.includes(message.type) &&
          'incarnation' in message &&
          message.id === id &&
          message.incarnation === incarnation,
      )
    const endComes = isOnItsWay('childEnded', 'startFailed')
    const isActive = phase === 'starting' || phase === 'running' || phase === 'stopping'
    const isLaterStopping = state.children
      .slice(child.index + 1)
      .some(({ phase }) => phase === 'stopping')
    holds(incarnation === child.incarnation, `the last life of ${id} is known`)
    holds((child.living === incarnation || endComes) === isActive, `${id} is ${phase}`)
    holds((phase === 'given_up') === child.isGivenUp || shuttingDown, `${id} is given up or not`)
    switch (phase) {
      case 'starting':
        holds(isOnItsWay('childStarted', 'startFailed'), `${id} will have started`)
        break
      case 'stopping':
        holds(endComes || child.toldToStop || isLaterStopping, `${id} knows that it is to stop`)
        break
      case 'backoff':
        holds(isOnItsWay('restartDue'), `${id} will be started again`)
        break
      case 'restarting':
        holds(needsAnother(id), `${id} is not held back for nothing`)
        break
      case 'terminated':
        holds(!child.isWanted || shuttingDown, `${id} is not forgotten`)
        break
    }
    if (phase !== 'backoff' && phase !== 'given_up') return
    for (const other of state.children) {
      const runs = other.phase === 'running' || other.phase === 'starting'
      const { index } = record(other.spec.id)
      holds(!runs || !dependsOn(index, id), `${other.spec.id} does not run on without ${id}`)
    }
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
      case 'leave':
        ends(happening.id, stopped)
        break
      case 'vanish':
        ends(happening.id, killed)
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
      case 'terminateChild':
        asked += 1
        mailbox.push(terminateChild(happening.id))
        break
      case 'askForStranger':
        asked += 2
        mailbox.push(restartChild('z'), terminateChild('z'))
        break
      case 'startAll':
        mailbox.push({ type: 'startAll' })
        break
    }
  }

  /** Everything is read, and every timer is over. */
  function settles({ obey }: { obey: boolean }): void {
    const obedient = () =>
      [...children.values()].filter(
        ({ spec, toldToStop }) =>
          toldToStop && (obey || spec.shutdown === Number.POSITIVE_INFINITY),
      )
    for (let rounds = 0; mailbox.length + timers.length + obedient().length > 0; rounds += 1) {
      holds(rounds < 2_000, 'it comes to rest')
      while (mailbox.length > 0) read()
      for (const { spec } of obedient()) ends(spec.id, stopped)
      wait(10)
    }
  }

  return {
    happens,
    shutdown(): void {
      asked += 1
      mailbox.push(shutdown)
    },
    /** Nothing is forgotten: who is wanted runs, or somebody was given up who is needed. */
    comesToRest(): void {
      for (const child of children.values()) child.broken = false
      settles({ obey: true })
      holds(answered === asked, 'every question is answered once')
      if (shuttingDown) return
      for (const { phase, spec } of state.children) {
        const { isGivenUp, isWanted, index } = record(spec.id)
        const isHeld = specs.some(({ id }) => record(id).isGivenUp && dependsOn(index, id))
        const wanted = isGivenUp ? 'given_up' : isHeld ? 'restarting' : 'running'
        const right = isWanted ? wanted : 'terminated'
        holds(phase === right, `${spec.id} is ${right} in the end, not ${phase}`)
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

const aRecord = (spec: ChildSpec, index: number) => ({
  spec,
  index,
  living: undefined as number | undefined,
  /** Since when the rules may know that this life has started. */
  startedAt: undefined as number | undefined,
  toldToStop: false,
  broken: false,
  incarnation: 0,
  /** When it failed, since an operator last gave it a clean record. */
  failures: [] as number[],
  waits: 0,
  isGivenUp: false,
  /** It has neither been terminated by an operator, nor ended for good. */
  isWanted: true,
})

function holds(condition: boolean, promise: string): void {
  if (!condition) throw new Error(`broken: ${promise}`)
}
