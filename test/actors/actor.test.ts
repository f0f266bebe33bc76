import { setImmediate as nextTurn } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import {
  ActorFailedError,
  type ActorRef,
  type Asks,
  ask,
  type Behaviour,
  createPlace,
  type Ending,
  type Incarnation,
  spawn,
  startActorSystem,
  tell,
} from '../../src/actors/actor.ts'
import { createProbe } from '../support/probe.ts'

type Message = Readonly<
  | { type: 'note'; note: number }
  | ({ type: 'read' } & Asks<readonly number[]>)
  /** Does within the handler whatever the test has in mind. */
  | { type: 'act'; act(self: ActorRef<Message>): void }
  | ({ type: 'askToAct'; act(replyTo: ActorRef<string>): void } & Asks<string>)
>

const escaped: unknown[] = []
const escapes = (error: unknown) => void escaped.push(error)

// Whatever happens in a test here, nothing thrown may reach the process.
beforeEach(() => {
  process.on('uncaughtException', escapes).on('unhandledRejection', escapes)
})
afterEach(async () => {
  vi.useRealTimers()
  await nextTurn()
  process.off('uncaughtException', escapes).off('unhandledRejection', escapes)
  expect(escaped.splice(0)).toEqual([])
})

describe('an actor', () => {
  it('handles what it is told in the order in which it was told', async () => {
    const { ref, read } = aNotebook()
    for (const note of oneTo(1_000)) expect(tell(ref, { type: 'note', note })).toBe(true)
    expect(await read()).toEqual(oneTo(1_000))
  })

  it('handles what it tells itself after what was waiting already', async () => {
    const { ref, read } = aNotebook()
    tell(ref, { type: 'act', act: (self) => tell(self, { type: 'note', note: 3 }) })
    tell(ref, { type: 'note', note: 1 })
    tell(ref, { type: 'note', note: 2 })
    await nextTurn()
    await eventually(read).toEqual([1, 2, 3])
  })

  it('handles nothing before whoever told it has finished speaking', async () => {
    const { ref, notes } = aNotebook()
    tell(ref, { type: 'note', note: 1 })
    expect(notes).toEqual([])
    await eventually(() => notes).toEqual([1])
  })

  it('handles one message at a time, also when it is told more in the middle of it', async () => {
    const { ref, notes } = aNotebook()
    const before = new Promise<readonly number[]>((resolve) => {
      const act = (self: ActorRef<Message>) => {
        tell(self, { type: 'note', note: 1 })
        resolve([...notes])
      }
      tell(ref, { type: 'act', act })
    })
    expect(await before).toEqual([])
    await eventually(() => notes).toEqual([1])
  })

  it('knows how many messages wait for it', async () => {
    const { incarnation, ref, read } = aNotebook()
    for (const note of oneTo(3)) tell(ref, { type: 'note', note })
    expect(incarnation.mailboxLength()).toBe(3)
    await read()
    expect(incarnation.mailboxLength()).toBe(0)
  })

  it('counts what it has yet to handle of those it took up together', async () => {
    const { incarnation, ref } = aNotebook()
    const seen = new Promise<number>((resolve) => {
      tell(ref, { type: 'act', act: () => resolve(incarnation.mailboxLength()) })
    })
    for (const note of oneTo(3)) tell(ref, { type: 'note', note })
    expect(await seen).toBe(3)
  })

  it('refuses more once 100,000 messages wait, until it has handled some', async () => {
    const { ref, notes } = aNotebook({}, startActorSystem(), 'gpu-0.3')
    for (const note of oneTo(100_000)) tell(ref, { type: 'note', note })
    expect(tell(ref, { type: 'note', note: 0 })).toBe(false)
    expect(await failureOf(ask(ref, { type: 'read' }))).toEqual(
      new ActorFailedError('gpu-0.3 has too much mail to take a question'),
    )

    await eventually(() => tell(ref, { type: 'note', note: 100_001 })).toBe(true)
    await eventually(() => notes.at(-1)).toBe(100_001)
    expect(notes).toEqual(oneTo(100_001))
  })

  it('can be stopped even when its mailbox is full', async () => {
    const { incarnation, ref, ended } = aNotebook()
    for (const note of oneTo(100_000)) tell(ref, { type: 'note', note })
    incarnation.stop()
    expect(await ended()).toEqual({ reason: 'stopped', dropped: 0 })
  })
})

describe.each([
  { why: 'stopped', end: ({ incarnation }: Notebook) => incarnation.stop() },
  { why: 'killed', end: ({ incarnation }: Notebook) => incarnation.kill() },
  { why: 'crashed', end: ({ ref }: Notebook) => crash(ref) },
])('an actor that has $why', ({ why, end }) => {
  it('reports its end exactly once, and releases exactly once what it held', async () => {
    const notebook = aNotebook()
    tell(notebook.ref, { type: 'note', note: 1 })
    await notebook.read()
    end(notebook)
    expect(await notebook.ended()).toMatchObject({ reason: why, dropped: 0 })

    crash(notebook.ref)
    notebook.incarnation.stop()
    notebook.incarnation.kill()
    await nextTurn()
    expect(notebook.endings).toHaveLength(1)
    expect(notebook.terminations).toEqual([[1]])
  })

  it('is told nothing any more, and says so', async () => {
    const notebook = aNotebook()
    end(notebook)
    await notebook.ended()
    expect(tell(notebook.ref, { type: 'note', note: 1 })).toBe(false)
    expect(notebook.incarnation.mailboxLength()).toBe(0)
    await nextTurn()
    expect(notebook.notes).toEqual([])
  })

  it('cannot be told anything by what it does at its end', async () => {
    let told: boolean | undefined
    const notebook = aNotebook({
      terminate: () => {
        told = tell(notebook.ref, { type: 'note', note: 1 })
        notebook.incarnation.stop()
        notebook.incarnation.kill()
      },
    })
    end(notebook)
    await notebook.ended()
    expect(told).toBe(false)
    await nextTurn()
    expect(notebook.endings).toHaveLength(1)
  })

  it('has done all of that before its end is reported', async () => {
    const notebook = aNotebook()
    const seen = new Promise((resolve) => {
      notebook.onEnded = () =>
        resolve([notebook.terminations.length, tell(notebook.ref, { type: 'note', note: 1 })])
    })
    end(notebook)
    expect(await seen).toEqual([1, false])
  })

  it('says what it threw when it fails to release what it held', async () => {
    const error = new Error('stuck')
    const notebook = aNotebook({ terminate: () => raise(error) })
    end(notebook)
    const own = why === 'crashed' ? expect.objectContaining({ message: 'on purpose' }) : error
    const reason = why === 'killed' ? 'killed' : 'crashed'
    expect(await notebook.ended()).toMatchObject({ reason, error: own })
  })
})

describe('a stop', () => {
  it('waits its turn: what was told before is handled, what comes after is dropped', async () => {
    const { incarnation, ref, notes, ended } = aNotebook()
    for (const note of oneTo(600)) tell(ref, { type: 'note', note })
    incarnation.stop()
    for (const note of oneTo(300)) tell(ref, { type: 'note', note })
    expect(await ended()).toEqual({ reason: 'stopped', dropped: 300 })
    expect(notes).toEqual(oneTo(600))
  })

  it('is not counted among the messages that were dropped', async () => {
    const { incarnation, ref, ended } = aNotebook()
    incarnation.stop()
    tell(ref, { type: 'note', note: 1 })
    incarnation.stop()
    expect(await ended()).toEqual({ reason: 'stopped', dropped: 1 })
  })
})

describe('a kill', () => {
  it('comes at once: what waits is dropped', async () => {
    const { incarnation, ref, notes, endings } = aNotebook()
    for (const note of oneTo(600)) tell(ref, { type: 'note', note })
    incarnation.kill()
    expect(endings).toEqual([{ reason: 'killed', dropped: 600 }])
    await nextTurn()
    expect(notes).toEqual([])
  })

  it('goes before a stop that still waits for its turn', async () => {
    const { incarnation, ref, endings } = aNotebook()
    tell(ref, { type: 'note', note: 1 })
    incarnation.stop()
    incarnation.kill()
    expect(endings).toEqual([{ reason: 'killed', dropped: 1 }])
  })

  it('drops the rest of what was taken up together when it comes in the middle', async () => {
    const { incarnation, ref, notes, ended } = aNotebook()
    tell(ref, { type: 'note', note: 1 })
    tell(ref, { type: 'act', act: () => incarnation.kill() })
    for (const note of oneTo(600)) tell(ref, { type: 'note', note })
    expect(await ended()).toEqual({ reason: 'killed', dropped: 600 })
    await nextTurn()
    expect(notes).toEqual([1])
  })

  it('is the only end, even when the handler in which it came throws', async () => {
    const notebook = aNotebook()
    const act = () => {
      notebook.incarnation.kill()
      raise(new Error('after the end'))
    }
    tell(notebook.ref, { type: 'act', act })
    expect(await notebook.ended()).toEqual({ reason: 'killed', dropped: 0 })
    await nextTurn()
    expect(notebook.endings).toHaveLength(1)
    expect(notebook.terminations).toHaveLength(1)
  })

  it('is the only end, even when it comes while work is settled that then fails', async () => {
    const notebook = aNotebook({
      settle: () => {
        notebook.incarnation.kill()
        raise(new Error('after the end'))
      },
    })
    tell(notebook.ref, { type: 'note', note: 1 })
    await notebook.ended()
    await nextTurn()
    expect(notebook.endings).toEqual([{ reason: 'killed', dropped: 0 }])
    expect(notebook.terminations).toHaveLength(1)
  })
})

describe('a crash', () => {
  const oddities = [
    new Error('on purpose'),
    'a word',
    '',
    0,
    null,
    undefined,
    Symbol('odd'),
    Object.freeze({}),
    Object.create(null),
    () => {},
  ].map((error) => ({ error, name: describeOddity(error) }))

  it.each(oddities)('is reported with what was thrown: $name', async ({ error }) => {
    const notebook = aNotebook()
    tell(notebook.ref, { type: 'note', note: 1 })
    tell(notebook.ref, { type: 'act', act: () => raise(error) })
    tell(notebook.ref, { type: 'note', note: 2 })
    tell(notebook.ref, { type: 'note', note: 3 })
    const ending = await notebook.ended()
    expect(ending).toStrictEqual({ reason: 'crashed', error, lastMessage: 'act', dropped: 2 })
    expect(ending.error).toBe(error)

    await nextTurn()
    expect(notebook.endings).toHaveLength(1)
    expect(notebook.terminations).toEqual([[1]])
    expect(notebook.notes).toEqual([1])
  })

  it.each(oddities)('may come while work is settled, then by no message: $name', async (odd) => {
    const notebook = aNotebook({ settle: () => raise(odd.error) })
    tell(notebook.ref, { type: 'note', note: 1 })
    expect(await notebook.ended()).toStrictEqual({
      reason: 'crashed',
      error: odd.error,
      dropped: 0,
    })
    expect(notebook.terminations).toEqual([[1]])
  })

  it('names a message without a type as untyped', async () => {
    for (const message of [null, undefined, 'hello', 7, {}]) {
      const ended = new Promise<Ending>((resolve) => {
        const { ref } = spawn<null, unknown>(
          startActorSystem(),
          'blunt',
          { init: () => null, receive: () => raise(new Error('what?')) },
          resolve,
        )
        tell(ref, message)
      })
      expect(await ended).toMatchObject({ reason: 'crashed', lastMessage: 'untyped' })
    }
  })

  it('counts all that waited, also what was too much for one go', async () => {
    const { ref, ended } = aNotebook()
    crash(ref)
    for (const note of oneTo(1_000)) tell(ref, { type: 'note', note })
    expect(await ended()).toMatchObject({ reason: 'crashed', dropped: 1_000 })
  })

  it('leaves other actors alone', async () => {
    const system = startActorSystem()
    const bystander = aNotebook({}, system, 'bystander')
    const crashing = aNotebook({}, system, 'crashing')
    tell(bystander.ref, { type: 'note', note: 1 })
    crash(crashing.ref)
    await crashing.ended()
    tell(bystander.ref, { type: 'note', note: 2 })
    expect(await bystander.read()).toEqual([1, 2])
  })
})

describe('a start', () => {
  it('may tell the actor something, which it handles first', async () => {
    const { ref, read } = aNotebook({
      init: (self) => {
        tell(self, { type: 'note', note: 1 })
        tell(self, { type: 'note', note: 2 })
        return []
      },
    })
    tell(ref, { type: 'note', note: 3 })
    expect(await read()).toEqual([1, 2, 3])
  })

  it('that fails throws, and leaves nothing behind', async () => {
    const system = startActorSystem()
    const error = new Error('no GPU')
    const onEnded = vi.fn()
    const receive = vi.fn()
    const terminate = vi.fn()
    let leaked: ActorRef<Message> | undefined
    const init = (self: ActorRef<Message>) => {
      tell(self, { type: 'note', note: 1 })
      leaked = self
      return raise(error)
    }
    const start = () =>
      spawn<null, Message>(system, 'gpu-0.1', { init, receive, terminate }, onEnded)
    expect(start).toThrow(error)
    expect(leaked && tell(leaked, { type: 'note', note: 2 })).toBe(false)
    await nextTurn()
    await nextTurn()
    expect([onEnded, receive, terminate].map((spy) => spy.mock.calls)).toEqual([[], [], []])
    // Not even its name.
    expect(start).toThrow(error)
    expect(await aNotebook({}, system, 'gpu-0.1').read()).toEqual([])
  })

  it('that fails answers who asked meanwhile', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    let failure: Promise<Error> | undefined
    const init = (self: ActorRef<Message>) => {
      failure = failureOf(ask(self, { type: 'read' }))
      return raise(new Error('no GPU'))
    }
    expect(() => aNotebook({ init })).toThrow('no GPU')
    expect(await failure).toEqual(new ActorFailedError('notebook ended before it could answer'))
  })

  it('needs a name never used before', () => {
    const system = startActorSystem()
    aNotebook({}, system, 'gpu-0.1')
    expect(() => aNotebook({}, system, 'gpu-0.1')).toThrow('gpu-0.1')
  })
})

// Time stands still here, so that nothing can have come from a time-out.
describe('a question', () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  })

  it('gets its answer', async () => {
    const { ref } = aNotebook()
    tell(ref, { type: 'note', note: 1 })
    expect(await ask(ref, { type: 'read' })).toEqual([1])
  })

  it('may be answered later, from outside the handler', async () => {
    const { ref } = aNotebook()
    const act = (replyTo: ActorRef<string>) => void setImmediate(() => tell(replyTo, 'later'))
    expect(await ask(ref, { type: 'askToAct', act })).toBe('later')
  })

  it('takes the first answer when there are two', async () => {
    const { ref } = aNotebook()
    const act = (replyTo: ActorRef<string>) => {
      tell(replyTo, 'first')
      tell(replyTo, 'second')
    }
    expect(await ask(ref, { type: 'askToAct', act })).toBe('first')
  })

  it('keeps its answer when the actor crashes after it', async () => {
    const { ref } = aNotebook()
    const act = (replyTo: ActorRef<string>) => {
      tell(replyTo, 'answered')
      raise(new Error('on purpose'))
    }
    expect(await ask(ref, { type: 'askToAct', act })).toBe('answered')
  })

  it('fails at once when the actor crashes on it, and says why', async () => {
    const { ref } = aNotebook({}, startActorSystem(), 'gpu-0.3')
    const error = new Error('on purpose')
    const failure = await failureOf(ask(ref, { type: 'askToAct', act: () => raise(error) }))
    expect(failure).toEqual(new ActorFailedError('gpu-0.3 crashed on this question'))
    expect(failure.cause).toBe(error)
  })

  it('fails at once when the actor is not running', async () => {
    const { incarnation, ref } = aNotebook({}, startActorSystem(), 'gpu-0.3')
    incarnation.kill()
    expect(await failureOf(ask(ref, { type: 'read' }))).toEqual(
      new ActorFailedError('gpu-0.3 is not running'),
    )
  })

  it.each<{ how: string; end(notebook: Notebook, asks: () => void): void }>([
    {
      how: 'is stopped',
      end({ incarnation }, asks) {
        incarnation.stop()
        asks()
      },
    },
    {
      how: 'is killed',
      end({ incarnation }, asks) {
        asks()
        incarnation.kill()
      },
    },
    {
      how: 'crashes on another message',
      end({ ref }, asks) {
        crash(ref)
        asks()
      },
    },
    {
      how: 'crashes on another message with many between',
      end({ ref }, asks) {
        crash(ref)
        for (const note of oneTo(1_000)) tell(ref, { type: 'note', note })
        asks()
      },
    },
    {
      how: 'is killed in the middle of another message',
      end({ incarnation, ref }, asks) {
        tell(ref, { type: 'act', act: () => incarnation.kill() })
        asks()
      },
    },
    {
      how: 'fails to settle what came before it',
      end({ ref }, asks) {
        for (const note of oneTo(1_000)) tell(ref, { type: 'note', note })
        asks()
      },
    },
  ])('fails at once when it still waits while the actor $how', async ({ how, end }) => {
    const settle = () => raise(new Error('on purpose'))
    const notebook = aNotebook(how.includes('settle') ? { settle } : {})
    const failures: Array<Promise<Error>> = []
    end(notebook, () => {
      for (const _ of oneTo(3)) failures.push(failureOf(ask(notebook.ref, { type: 'read' })))
    })
    const failure = new ActorFailedError('notebook ended before it could answer')
    expect(await Promise.all(failures)).toEqual([failure, failure, failure])
    expect(notebook.endings).toHaveLength(1)
  })

  it('fails at once when the actor it was passed on to crashes on it', async () => {
    const expert = aNotebook({}, startActorSystem(), 'expert')
    const { ref } = aNotebook()
    const act = (replyTo: ActorRef<string>) =>
      void tell(expert.ref, {
        type: 'askToAct',
        act: () => raise(new Error('on purpose')),
        replyTo,
      })
    expect(await failureOf(ask(ref, { type: 'askToAct', act }))).toEqual(
      new ActorFailedError('expert crashed on this question'),
    )
  })

  it('fails when its time is over, and then does not mind a late answer', async () => {
    const { ref } = aNotebook()
    let late: ActorRef<string> | undefined
    const failed = failureOf(
      ask(
        ref,
        {
          type: 'askToAct',
          act: (replyTo) => {
            late = replyTo
          },
        },
        200,
      ),
    )
    while (!late) await nextTurn()
    vi.advanceTimersByTime(199)
    await nextTurn()
    expect(vi.getTimerCount()).toBe(1)
    vi.advanceTimersByTime(1)
    expect(await failed).toEqual(
      new ActorFailedError('notebook did not answer askToAct within 200 ms'),
    )
    tell(late, 'too late')
    await nextTurn()
  })

  it('leaves no timer behind, however it went', async () => {
    const { incarnation, ref } = aNotebook()
    await ask(ref, { type: 'read' })
    await failureOf(ask(ref, { type: 'askToAct', act: () => raise(new Error('on purpose')) }))
    await failureOf(ask(ref, { type: 'read' }))
    incarnation.kill()
    expect(vi.getTimerCount()).toBe(0)
  })
})

describe('settling', () => {
  it('comes once after all the messages that were waiting together', async () => {
    const settled: number[][] = []
    const { ref } = aNotebook({
      settle(notes) {
        settled.push([...notes])
        return notes
      },
    })
    for (const note of oneTo(3)) tell(ref, { type: 'note', note })
    await eventually(() => settled).toEqual([[1, 2, 3]])
    tell(ref, { type: 'note', note: 4 })
    await eventually(() => settled).toEqual([[1, 2, 3], oneTo(4)])
    await nextTurn()
    expect(settled).toHaveLength(2)
  })

  it('comes once for hundreds of messages, and not later than for the last one', async () => {
    const settled: number[] = []
    const { ref } = aNotebook({
      settle(notes) {
        settled.push(notes.length)
        return notes
      },
    })
    for (const note of oneTo(1_000)) tell(ref, { type: 'note', note })
    await eventually(() => settled.at(-1)).toBe(1_000)
    expect(settled.length).toBeLessThan(10)
  })

  it('comes again for what it has told the actor itself', async () => {
    const settled: number[][] = []
    const { ref } = aNotebook({
      settle(notes, self) {
        settled.push([...notes])
        if (notes.length < 3) tell(self, { type: 'note', note: notes.length + 1 })
        return notes
      },
    })
    tell(ref, { type: 'note', note: 1 })
    await eventually(() => settled).toEqual([[1], [1, 2], [1, 2, 3]])
  })

  it.each([
    { ends: 'a crash', end: ({ ref }: Notebook) => crash(ref) },
    { ends: 'a stop', end: ({ incarnation }: Notebook) => incarnation.stop() },
  ])('does not come after $ends', async ({ end }) => {
    const settle = vi.fn()
    const notebook = aNotebook({ settle })
    tell(notebook.ref, { type: 'note', note: 1 })
    end(notebook)
    await notebook.ended()
    await nextTurn()
    expect(settle).not.toHaveBeenCalled()
  })
})

describe('a flood', () => {
  it('does not keep another actor waiting', async () => {
    const system = startActorSystem()
    const flooded = aNotebook({}, system, 'flooded')
    const other = aNotebook({}, system, 'other')
    for (const note of oneTo(50_000)) tell(flooded.ref, { type: 'note', note })
    await other.read()
    expect(flooded.notes.length).toBeLessThan(1_000)
    await eventually(() => flooded.notes.length).toBe(50_000)
  })

  it('does not keep timers waiting, even when it never ends', async () => {
    const { incarnation, ref, ended } = aNotebook()
    let rounds = 0
    const again = (self: ActorRef<Message>) => {
      rounds += 1
      tell(self, { type: 'act', act: again })
    }
    for (const _ of oneTo(1_000)) tell(ref, { type: 'act', act: again })
    for (const _ of oneTo(5)) await new Promise((resolve) => setTimeout(resolve))
    incarnation.stop()
    expect(await ended()).toEqual({ reason: 'stopped', dropped: 1_000 })
    expect(rounds).toBeGreaterThan(0)
  })
})

describe('a place', () => {
  it('is told nothing while nobody sits in it, and says so', async () => {
    const place = createPlace<Message>('gpu-0')
    expect(tell(place, { type: 'note', note: 1 })).toBe(false)
    expect(await failureOf(ask(place, { type: 'read' }))).toEqual(
      new ActorFailedError('gpu-0 is not running'),
    )
  })

  it('passes everything on to the incarnation that sits in it', async () => {
    const place = createPlace<Message>('gpu-0')
    const { ref } = aNotebook({}, startActorSystem(), 'gpu-0.1')
    place.seat(ref)
    expect(tell(place, { type: 'note', note: 1 })).toBe(true)
    expect(await ask(place, { type: 'read' })).toEqual([1])

    place.vacate()
    expect(tell(place, { type: 'note', note: 2 })).toBe(false)
    expect(await ask(ref, { type: 'read' })).toEqual([1])
  })

  it('refuses for an incarnation that has ended, until the next one sits in it', async () => {
    const place = createPlace<Message>('gpu-0')
    const first = aNotebook({}, startActorSystem(), 'gpu-0.1')
    place.seat(first.ref)
    first.incarnation.kill()
    expect(tell(place, { type: 'note', note: 1 })).toBe(false)

    const second = aNotebook({}, startActorSystem(), 'gpu-0.2')
    place.seat(second.ref)
    expect(tell(place, { type: 'note', note: 2 })).toBe(true)
    expect(await ask(place, { type: 'read' })).toEqual([2])
  })

  it('is not where the address of an earlier incarnation leads', async () => {
    const system = startActorSystem()
    const place = createPlace<Message>('gpu-0')
    const first = aNotebook({}, system, 'gpu-0.1')
    place.seat(first.ref)
    let kept: ActorRef<Message> | undefined
    tell(place, {
      type: 'act',
      act: (self) => {
        kept = self
        raise(new Error('on purpose'))
      },
    })
    await first.ended()
    // Not even under the same name, where nact itself would get it wrong.
    const second = aNotebook({}, system, 'gpu-0.1')
    place.seat(second.ref)
    expect(tell(first.ref, { type: 'note', note: 1 })).toBe(false)
    expect(tell(kept as ActorRef<Message>, { type: 'note', note: 2 })).toBe(false)
    expect(await ask(place, { type: 'read' })).toEqual([])
  })
})

describe('a probe', () => {
  it('keeps what it is told until the test takes it, in order', async () => {
    const probe = createProbe<number>()
    for (const number of [0, 1, 2]) tell(probe.ref, number)
    expect([await probe.next(), await probe.next(), await probe.next()]).toEqual([0, 1, 2])

    const [third, fourth] = [probe.next(), probe.next()]
    tell(probe.ref, 3)
    tell(probe.ref, 4)
    expect(await Promise.all([third, fourth])).toEqual([3, 4])
    expect(probe.told).toEqual([])
  })
})

describe('a crowd of actors that crash, stop and restart at random', () => {
  it.each([1, 2, 3, 4])('keeps every promise (seed %i)', async (seed) => {
    const crowd = aCrowd({ seed, size: 8 })
    for (const _ of oneTo(2_000)) {
      crowd.speak()
      if (crowd.happens(0.3)) await nextTurn()
    }
    crowd.goHome()
    await eventually(crowd.waiting).toBe(0)

    const { told, handled, dropped, lives, answers, faults } = crowd.account()
    expect(faults).toEqual([])
    // Nothing was lost without being counted, and nothing was handled twice.
    expect(handled + dropped).toBe(told)
    // The crowd has been through what it was meant to go through.
    expect(told).toBeGreaterThan(10_000)
    expect(lives.crashed).toBeGreaterThan(200)
    expect(lives.stopped).toBeGreaterThan(50)
    expect(lives.killed).toBeGreaterThan(50)
    expect(answers.given).toBeGreaterThan(500)
    expect(answers.failed).toBeGreaterThan(100)
  })
})

type Notebook = ReturnType<typeof aNotebook>

/** An actor that keeps its notes, and of which the test sees everything. */
function aNotebook(
  changed: Partial<Behaviour<number[], Message>> = {},
  system = startActorSystem(),
  name = 'notebook',
) {
  const notes: number[] = []
  const endings: Ending[] = []
  const terminations: number[][] = []
  const ending = Promise.withResolvers<Ending>()
  const incarnation = spawn<number[], Message>(
    system,
    name,
    {
      init: () => [],
      receive(state, message, self) {
        switch (message.type) {
          case 'note':
            notes.push(message.note)
            state.push(message.note)
            return state
          case 'read':
            tell(message.replyTo, [...state])
            return state
          case 'act':
            message.act(self)
            return state
          case 'askToAct':
            message.act(message.replyTo)
            return state
        }
      },
      terminate: (state) => void terminations.push([...state]),
      ...changed,
    },
    (how) => {
      endings.push(how)
      notebook.onEnded()
      ending.resolve(how)
    },
  )
  const { ref } = incarnation
  const notebook = {
    incarnation,
    ref,
    /** What it has handled so far. */
    notes,
    endings,
    terminations,
    onEnded: () => {},
    ended: () => ending.promise,
    read: () => ask(ref, { type: 'read' }),
  }
  return notebook
}

type Talk = Readonly<
  | { type: 'say'; from: string; number: number }
  | { type: 'passOn'; hops: number }
  | { type: 'throw' | 'endYourself' }
  | ({ type: 'ask'; how: 'now' | 'later' | 'settling' | 'throw' | 'passOn' } & Asks<string>)
>

/** Actors in places, each replaced by a new incarnation whenever it ends. All chance comes from `seed`. */
function aCrowd({ seed, size }: { seed: number; size: number }) {
  const random = seeded(seed)
  const happens = (probability: number) => random() < probability
  const system = startActorSystem()
  const faults: string[] = []
  const lives = { stopped: 0, killed: 0, crashed: 0 }
  const answers = { given: 0, failed: 0 }
  let told = 0
  let handled = 0
  let dropped = 0
  let asked = 0
  let open = true

  const places = oneTo(size).map((index) => createPlace<Talk>(`member-${index}`))
  const living = new Map<string, Incarnation<Talk>>()
  const anyone = () => places[Math.floor(random() * size)] as (typeof places)[number]
  const someLife = () => living.get(anyone().name)
  const say = (talk: Talk) => {
    if (tell(anyone(), talk)) told += 1
  }
  for (const place of places) begin(place, 1)

  function begin(place: (typeof places)[number], life: number): void {
    let inHandler = false
    let alive = true
    let terminations = 0
    let endings = 0
    let unsettled: Array<ActorRef<string>> = []
    const heard = new Map<string, number>()

    const incarnation = spawn<null, Talk>(
      system,
      `${place.name}.${life}`,
      {
        init: () => null,
        receive(_, talk) {
          handled += 1
          if (inHandler) faults.push(`${place.name} handles two messages at once`)
          if (!alive) faults.push(`${place.name} handles a message after its end`)
          inHandler = true
          try {
            handle(talk)
          } finally {
            inHandler = false
          }
          return null
        },
        settle() {
          for (const asker of unsettled) tell(asker, 'settled')
          unsettled = []
          if (happens(0.005)) throw new Error('while settling')
          return null
        },
        terminate() {
          terminations += 1
          if (terminations > 1) faults.push(`${place.name} was terminated twice`)
          alive = false
          for (const asker of unsettled) tell(asker, 'at the end')
          if (happens(0.05)) throw new Error('at the end')
        },
      },
      (ending) => {
        endings += 1
        if (endings > 1) faults.push(`${place.name} ended twice`)
        if (terminations === 0) faults.push(`${place.name} ended without being terminated`)
        lives[ending.reason] += 1
        dropped += ending.dropped
        place.vacate()
        living.delete(place.name)
        if (open) begin(place, life + 1)
      },
    )
    living.set(place.name, incarnation)
    place.seat(incarnation.ref)

    function handle(talk: Talk): void {
      switch (talk.type) {
        case 'say': {
          if (talk.number <= (heard.get(talk.from) ?? 0))
            faults.push(`${place.name} hears out of order`)
          heard.set(talk.from, talk.number)
          break
        }
        case 'passOn':
          if (talk.hops > 0) say({ type: 'passOn', hops: talk.hops - 1 })
          break
        case 'throw':
          throw new Error('on purpose')
        case 'endYourself':
          if (happens(0.5)) incarnation.stop()
          else incarnation.kill()
          if (happens(0.3)) throw new Error('in the end')
          break
        case 'ask': {
          const { how, replyTo } = talk
          if (how === 'now') tell(replyTo, how)
          else if (how === 'later') setImmediate(() => tell(replyTo, how))
          else if (how === 'settling') unsettled.push(replyTo)
          else if (how === 'throw') throw new Error('on purpose')
          else {
            const next = { type: 'ask', how: 'now', replyTo } as const
            if (tell(anyone(), next)) told += 1
            else tell(replyTo, 'nobody there')
          }
          break
        }
      }
    }
  }

  function askSomebody(how: Extract<Talk, { type: 'ask' }>['how']): void {
    const place = anyone()
    asked += 1
    told += 1
    ask(place, { type: 'ask', how }, 10 * 60_000).then(
      () => {
        answers.given += 1
      },
      (error: unknown) => {
        if (!(error instanceof ActorFailedError)) faults.push(`an asker heard ${String(error)}`)
        answers.failed += 1
      },
    )
  }

  let number = 0
  return {
    happens,
    /** A few messages of every kind, most of them harmless. */
    speak(): void {
      for (const _ of oneTo(1 + Math.floor(random() * 12))) {
        number += 1
        say({ type: 'say', from: 'outside', number })
      }
      if (happens(0.3)) say({ type: 'passOn', hops: 5 })
      if (happens(0.15)) say({ type: 'throw' })
      if (happens(0.08)) say({ type: 'endYourself' })
      if (happens(0.05)) someLife()?.stop()
      if (happens(0.03)) someLife()?.kill()
      for (const how of ['now', 'later', 'settling', 'passOn'] as const) {
        if (happens(0.3)) askSomebody(how)
      }
      if (happens(0.05)) askSomebody('throw')
    },
    /** No new incarnations, and an orderly end for the present ones. */
    goHome(): void {
      open = false
      for (const incarnation of living.values()) incarnation.stop()
    },
    /** Askers without an answer, and members who have not gone home. */
    waiting: () => asked - answers.given - answers.failed + living.size,
    account: () => ({ told, handled, dropped, lives, answers, faults }),
  }
}

/** mulberry32: the same numbers for the same seed, on every machine. */
function seeded(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

function crash(actor: ActorRef<Message>): void {
  tell(actor, { type: 'act', act: () => raise(new Error('on purpose')) })
}

function raise(error: unknown): never {
  throw error
}

function describeOddity(error: unknown): string {
  return error instanceof Object
    ? error.constructor.name
    : `${typeof error} ${JSON.stringify(error)}`
}

/** What became of a question that nobody can answer, and that must not take long. */
async function failureOf(question: Promise<unknown>): Promise<Error> {
  const outcome = question.then(
    (answer) => new Error(`answered: ${JSON.stringify(answer)}`),
    (error: Error) => error,
  )
  return Promise.race([outcome, manyTurns().then(() => new Error('not heard of any more'))])
}

async function manyTurns(): Promise<void> {
  for (const _ of oneTo(1_000)) await nextTurn()
}

/** Waits for it, patiently: the machine may be busy. */
const eventually = <Value>(value: () => Value) =>
  expect.poll(value, { interval: 2, timeout: 30_000 })

const oneTo = (last: number): number[] => Array.from({ length: last }, (_, index) => index + 1)
