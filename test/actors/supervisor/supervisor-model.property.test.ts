import * as fc from 'fast-check'
import { describe, it } from 'vitest'
import type { Ending } from '../../../src/actors/actor.ts'
import {
  type ChildSpec,
  type ChildState,
  defaultChildSpec,
  type SupervisorCommand,
  type SupervisorEffect,
  type SupervisorNews,
} from '../../../src/actors/supervisor/supervisor-protocol.ts'
import { startAll } from '../../../src/actors/supervisor/supervisor-state.ts'
import { transition } from '../../../src/actors/supervisor/supervisor-transition.ts'
import {
  childEnded,
  crashed,
  killed,
  restartChild,
  shutdown,
  shutdownAnswer,
  started,
  startFailed,
  stateOf,
  stopped,
} from '../../support/supervision.ts'

const ids = ['a', 'b', 'c', 'd'] as const

describe('the rules of supervision, whatever happens', () => {
  const id = fc.constantFrom(...ids)
  const spec = fc.record({
    intensity: fc.integer({ min: 0, max: 6 }),
    periodMs: fc.integer({ min: 1, max: 300 }),
    shutdownMs: fc.integer({ min: 1, max: 200 }),
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
    { weight: 1, arbitrary: fc.record({ what: fc.constant('askForStranger' as const) }) },
  )
  const randoms = fc.array(fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), {
    minLength: 1,
  })

  it('never break a promise', () => {
    fc.assert(
      fc.property(
        fc.tuple(spec, spec, spec, spec),
        fc.subarray([...ids]),
        randoms,
        fc.array(happening, { maxLength: 120, size: 'max' }),
        fc.nat({ max: 150 }),
        (specs, broken, randoms, happenings, shutdownAfter) => {
          const world = aWorld(
            ids.map((id, index) => ({ ...defaultChildSpec, ...specs[index], id })),
            broken,
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
      what: 'crash' | 'leave' | 'vanish' | 'break' | 'repair' | 'obey' | 'read' | 'restartChild'
      id: string
    }
  | { what: 'askForStranger' }
  | { what: 'wait'; ms: number }

/**
 * Does to the rules all that a shell and its children could do: performs effects with children, a
 * mailbox and a clock of its own, and holds every decision against the record it keeps itself.
 */
function aWorld(
  specs: readonly ChildSpec[],
  broken: readonly string[],
  randoms: readonly number[],
) {
  let [state, effects] = startAll(specs)
  let now = 0
  let drawn = 0
  let shuttingDown = false
  let asked = 0
  let answered = 0
  const mailbox: Message[] = []
  const timers: Array<{ at: number; news: SupervisorNews }> = []
  const children = new Map(specs.map((spec, index) => [spec.id, aRecord(spec, index)]))
  const record = (id: string) => {
    const found = children.get(id)
    if (!found) throw new Error(`no child ${id}`)
    return found
  }
  for (const id of broken) record(id).broken = true
  for (const effect of effects) perform(effect, undefined, 0)
  for (const child of state.children) agrees(child)

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
    const random = randoms[drawn++ % randoms.length] ?? 0
    notes(message)
    ;[state, effects] = transition(before, message, now, random)
    for (const child of before.children) {
      holds(
        mayChange(child, message) || stateOf(state, child.spec.id) === child,
        `${child.spec.id} is left alone by ${message.type}`,
      )
    }
    for (const effect of effects) perform(effect, message, random)
    for (const child of state.children) agrees(child)
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
        child.isGivenUp = false
        if (!runs && known.phase !== 'stopping') {
          child.failures = []
          child.waits = 0
        }
        break
      case 'childStarted':
        if (known.incarnation === message.incarnation) child.startedAt = now
        break
    }
  }

  /** One child is nobody else's business, except in a shutdown. */
  function mayChange({ spec }: ChildState, message: Message): boolean {
    return shuttingDown || ('id' in message && message.id === spec.id)
  }

  function perform(effect: SupervisorEffect, cause: Message | undefined, random: number): void {
    if ('id' in effect && cause && 'id' in cause && !shuttingDown) {
      holds(effect.id === cause.id, `${cause.type} of ${cause.id} does nothing to ${effect.id}`)
    }
    switch (effect.do) {
      case 'start': {
        const child = record(effect.id)
        const { id, incarnation } = effect
        holds(!shuttingDown, 'nothing starts in a shutdown')
        holds(child.living === undefined, `${id} has one life at a time`)
        holds(!child.isGivenUp, `${id} stays given up until an operator restarts it`)
        holds(incarnation > child.incarnation, `each life of ${id} has a higher number`)
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
        if (record(effect.id).living === effect.incarnation) record(effect.id).toldToStop = true
        stopsInOrder(effect.id)
        break
      case 'kill': {
        const child = record(effect.id)
        holds(cause?.type === 'shutdownOverdue', `${effect.id} may stop in order`)
        holds(
          (child.living ?? effect.incarnation) === effect.incarnation,
          `only the life of ${effect.id} that is late is cut off`,
        )
        ends(effect.id, killed)
        break
      }
      case 'restartLater': {
        const child = record(effect.id)
        const { spec, failures } = child
        const { minMs, maxMs, factor, jitter, resetAfterMs } = spec.backoff
        const recent = failures.filter((at) => now - at <= spec.periodMs).length
        failures.push(now)
        holds(recent < spec.intensity, `${spec.id} is not restarted too often`)
        if (child.startedAt !== undefined && now - child.startedAt >= resetAfterMs) child.waits = 0
        const afterMs = Math.min(maxMs, minMs * factor ** child.waits) * (1 + jitter * random)
        child.waits += 1
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
        child.isGivenUp = true
        break
      }
      case 'answer':
        answered += 1
        if (effect.to !== shutdownAnswer) break
        for (const { spec, living } of children.values()) {
          holds(living === undefined, `${spec.id} has ended when that is said`)
        }
        break
      case 'answerFailed':
      case 'describe':
        holds(false, `nobody asked for ${effect.do}`)
        break
    }
  }

  /** In a shutdown the last one started stops first. */
  function stopsInOrder(id: string): void {
    if (!shuttingDown) return
    const later = state.children.slice(record(id).index + 1)
    holds(!later.some(isActive), `${id} stops after those after it`)
  }

  /** What the rules believe of a child is so, or the news of the difference is on its way. */
  function agrees(known: ChildState): void {
    const { spec, phase, incarnation } = known
    const { id } = spec
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
    holds(incarnation === child.incarnation, `the last life of ${id} is known`)
    holds((child.living === incarnation || endComes) === isActive(known), `${id} is ${phase}`)
    holds((phase === 'given_up') === child.isGivenUp || shuttingDown, `${id} is given up or not`)
    switch (phase) {
      case 'starting':
        holds(isOnItsWay('childStarted', 'startFailed'), `${id} will have started`)
        break
      case 'stopping':
        holds(endComes || child.toldToStop, `${id} knows that it is to stop`)
        break
      case 'backoff':
        holds(isOnItsWay('restartDue'), `${id} will be started again`)
        break
      case 'terminated':
        holds(shuttingDown, `${id} is not forgotten`)
        break
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
      case 'askForStranger':
        asked += 1
        mailbox.push(restartChild('z'))
        break
    }
  }

  /** Everything is read, and every timer is over. */
  function settles({ obey }: { obey: boolean }): void {
    const obedient = () => [...children.values()].filter(({ toldToStop }) => toldToStop && obey)
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
    /** Every child runs or was given up. */
    comesToRest(): void {
      for (const child of children.values()) child.broken = false
      settles({ obey: true })
      holds(answered === asked, 'every question is answered once')
      if (shuttingDown) return
      for (const { phase, spec } of state.children) {
        const right = record(spec.id).isGivenUp ? 'given_up' : 'running'
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
})

const isActive = ({ phase }: ChildState): boolean =>
  phase === 'starting' || phase === 'running' || phase === 'stopping'

function holds(condition: boolean, promise: string): void {
  if (!condition) throw new Error(`broken: ${promise}`)
}
