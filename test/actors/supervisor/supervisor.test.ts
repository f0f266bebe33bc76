import { setImmediate as nextTurn } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import {
  ActorFailedError,
  type ActorRef,
  type ActorSystem,
  type Asks,
  ask,
  type Behaviour,
  createPlace,
  startActorSystem,
  tell,
} from '../../../src/actors/actor.ts'
import {
  type ChildOptions,
  child,
  startSupervisor,
} from '../../../src/actors/supervisor/supervisor.ts'
import {
  defaultChildSpec,
  type SupervisorEvent,
} from '../../../src/actors/supervisor/supervisor-protocol.ts'
import { createProbe } from '../../support/probe.ts'

/*
 * The words before a colon are names of cases in OTP's supervisor_SUITE. That the rules are right is
 * shown beside (supervisor-transition, supervisor-model), here that real actors live by them.
 */

const error = new Error('on purpose')
const clumsiness = new Error('clumsy')

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

  it('child_specs: refuses two children with the same id, before any is started', () => {
    const system = startActorSystem()
    const [one, other] = [aMember(system, 'a', {}, []), aMember(system, 'a', {}, [])]
    expect(() => startSupervisor(system, [one.child, other.child], () => {})).toThrow(
      'two children are called a',
    )
    expect([...one.lives, ...other.lives]).toEqual([])
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

  it('waits for long when it is told to, however long that is', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    const { a, views } = await aFamily({ a: { backoff: { minMs: 2 ** 31, maxMs: 2 ** 32 } } })
    tell(a.place, { type: 'crash', error })
    await until(async () => (await views())[0]?.phase === 'backoff')
    vi.advanceTimersByTime(24 * 60 * 60_000)
    await views()
    expect(a.lives).toEqual(['a.1'])
  })

  it('keeps to the default where nothing else is said of a child', () => {
    const options = { intensity: 7, backoff: { minMs: 5 } } as const
    expect(aMember(startActorSystem(), 'a', options, []).child.spec).toEqual({
      ...defaultChildSpec,
      id: 'a',
      intensity: 7,
      backoff: { ...defaultChildSpec.backoff, minMs: 5 },
    })
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
    const { a, b, supervisor, terminated, events } = await aFamily({ a: {}, b: { shutdownMs: 5 } })
    await ask(b.place, { type: 'read' })
    b.clumsy = true
    for (let told = 0; told < 20_000; told += 1) tell(b.place, { type: 'ponder' })
    const question = ask(b.place, { type: 'read' }, 10 * 60_000)
    const left = expect(question).rejects.toThrow('b.1 ended before it could answer')

    expect(await ask(supervisor, { type: 'shutdown' }, 30_000)).toBe('stopped')
    await left
    expect(b.count).toBeGreaterThan(0)
    expect(b.count).toBeLessThan(20_000)
    expect(terminated).toEqual(['b.1', 'a.1'])
    expect(tell(a.place, { type: 'count' })).toBe(false)
    expect(events).toEqual([
      {
        type: 'childStopped',
        id: 'b',
        incarnation: 1,
        killed: true,
        error: clumsiness,
        dropped: expect.toSatisfy((dropped: number) => dropped > 0),
      },
      { type: 'childStopped', id: 'a', incarnation: 1, dropped: 0 },
    ])
  })

  it('can be shut down when a child has just failed to start', async () => {
    const { supervisor, terminated } = aNewFamily({ a: {}, b: {} }, ({ b }) => {
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
    expect((await views()).map(({ phase }) => phase)).toEqual(['terminated', 'terminated'])
  })

  it('goes on with a shutdown when a child crashes at its end', async () => {
    const { b, supervisor, terminated, events } = await aFamily({ a: {}, b: {} })
    await ask(b.place, { type: 'read' })
    b.clumsy = true
    expect(await ask(supervisor, { type: 'shutdown' })).toBe('stopped')
    expect(terminated).toEqual(['b.1', 'a.1'])
    expect(events[0]).toEqual({
      type: 'childStopped',
      id: 'b',
      incarnation: 1,
      error: clumsiness,
      dropped: 0,
    })
  })

  it('child_adm: restarts a running child on request, without holding it against the child', async () => {
    const { a, supervisor, events, views } = await aFamily({ a: { intensity: 0 } })
    for (const _ of [1, 2, 3]) tell(a.place, { type: 'count' })
    expect(await ask(supervisor, { type: 'restartChild', id: 'a' })).toBe('restarting')
    await eventually(() => a.lives).toEqual(['a.1', 'a.2'])
    expect(a.count).toBe(3)
    expect(a.terminated).toEqual(['a.1'])
    expect(await ask(a.place, { type: 'read' })).toEqual({ count: 0, life: 'a.2' })
    expect(events).toEqual([
      { type: 'childRestartAsked', id: 'a', incarnation: 1 },
      { type: 'childStopped', id: 'a', incarnation: 1, dropped: 0 },
    ])
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

type Member = ReturnType<typeof aMember>

function aMember(system: ActorSystem, id: string, options: ChildOptions, terminated: string[]) {
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
        if (member.clumsy) throw clumsiness
      },
    }
  }
}

/** A supervisor that has started children of these names. */
async function aFamily<Id extends string>(
  specs: Record<Id, ChildOptions>,
  prepare: (members: Record<Id, Member>) => void = () => {},
) {
  const family = aNewFamily(specs, prepare)
  await until(async () => (await family.views()).every(({ phase }) => phase !== 'starting'))
  return family
}

/** The children have been started, and the supervisor has not heard of it yet. */
function aNewFamily<Id extends string>(
  specs: Record<Id, ChildOptions>,
  prepare: (members: Record<Id, Member>) => void = () => {},
) {
  const system = startActorSystem()
  const terminated: string[] = []
  const events: SupervisorEvent[] = []
  const entries = Object.entries(specs) as Array<[Id, ChildOptions]>
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
