import { describe, expect, it } from 'vitest'
import {
  type ActorRef,
  type AnswerEffect,
  type Asks,
  actorOf,
  answer,
  answerFailed,
  ask,
  type Behaviour,
  pipe,
  pipeAnswer,
  spawn,
  startActorSystem,
  tell,
  tellLater,
} from '../../src/actors/actor.ts'

type Message =
  | { type: 'add'; amount: number }
  | { type: 'load'; from: () => Promise<number> }
  | { type: 'loaded'; amount: number }
  | { type: 'loadFailed'; error: unknown }
  | ({ type: 'total' } & Asks<number>)
  | ({ type: 'refuse' } & Asks<number>)

type Effect = AnswerEffect | { do: 'note'; text: string } | { do: 'load'; from(): Promise<number> }

describe('an actor of rules and a shell', () => {
  it('performs the effects of its start before those of its first message', () => {
    const notes: string[] = []
    const counter = aCounter({ initial: [1, [{ do: 'note', text: 'started' }]], notes })
    tell(counter, { type: 'add', amount: 2 })
    return expect.poll(() => notes).toEqual(['started', 'added 2'])
  })

  it('replies with the value of an answer effect', async () => {
    const counter = aCounter()
    tell(counter, { type: 'add', amount: 2 })
    expect(await ask(counter, { type: 'total' })).toBe(2)
  })

  it('rejects a question with an answerFailed effect', async () => {
    await expect(ask(aCounter(), { type: 'refuse' })).rejects.toThrow('no total today')
  })

  it('performs the effects of settling after the messages of the turn', async () => {
    const notes: string[] = []
    const counter = aCounter({
      notes,
      settle: (total) => [total, [{ do: 'note', text: 'settled' }]],
    })
    tell(counter, { type: 'add', amount: 1 })
    tell(counter, { type: 'add', amount: 2 })
    await expect.poll(() => notes).toEqual(['added 1', 'added 2', 'settled'])
  })
})

describe('pipe', () => {
  it('sends the result of a promise as a message', async () => {
    const counter = aCounter()
    tell(counter, { type: 'load', from: async () => 5 })
    await expect.poll(() => ask(counter, { type: 'total' })).toBe(5)
  })

  it('sends the error of a promise as a message', async () => {
    const notes: string[] = []
    const counter = aCounter({ notes })
    tell(counter, { type: 'load', from: () => Promise.reject(new Error('no disk')) })
    await expect.poll(() => notes).toEqual(['Error: no disk'])
  })

  it('sends nothing when the function returns undefined', async () => {
    const counter = aCounter()
    const silent = Promise.resolve(1)
    pipe(
      counter,
      silent,
      () => undefined,
      () => undefined,
    )
    await silent
    expect(await ask(counter, { type: 'total' })).toBe(0)
  })
})

describe('pipeAnswer', () => {
  const asking = (promise: () => Promise<number>) => {
    const { ref } = spawn<null, { type: 'question' } & Asks<number>>(
      startActorSystem(),
      `asked-${crypto.randomUUID()}`,
      {
        init: () => null,
        receive(_, { replyTo }) {
          pipeAnswer(replyTo, promise(), 'it could not be read')
          return null
        },
      },
      () => {},
    )
    return ask(ref, { type: 'question' })
  }

  it('replies with the result of a promise', async () => {
    expect(await asking(async () => 3)).toBe(3)
  })

  it('rejects the question with the reason and the cause', async () => {
    const cause = new Error('no disk')
    await expect(asking(() => Promise.reject(cause))).rejects.toMatchObject({
      message: 'it could not be read',
      cause,
    })
  })
})

describe('tellLater', () => {
  it('sends at once for a delay in the past', async () => {
    const counter = aCounter()
    tellLater(counter, -1, { type: 'add', amount: 1 })
    await expect.poll(() => ask(counter, { type: 'total' })).toBe(1)
  })

  it('does not fire at once for a delay longer than a timer can be', async () => {
    const counter = aCounter()
    const timer = tellLater(counter, 2 ** 40, { type: 'add', amount: 1 })
    await new Promise((resolve) => setTimeout(resolve, 5))
    expect(await ask(counter, { type: 'total' })).toBe(0)
    clearTimeout(timer)
  })
})

function aCounter({
  initial = [0, []],
  notes = [],
  settle,
}: {
  initial?: readonly [number, readonly Effect[]]
  notes?: string[]
  settle?: (total: number) => readonly [number, readonly Effect[]]
} = {}): ActorRef<Message> {
  const behaviour: Behaviour<number, Message> = actorOf<number, Message, Effect>({
    initial,
    transition(total, message) {
      switch (message.type) {
        case 'add':
          return [total + message.amount, [{ do: 'note', text: `added ${message.amount}` }]]
        case 'load':
          return [total, [{ do: 'load', from: message.from }]]
        case 'loaded':
          return [total + message.amount, []]
        case 'loadFailed':
          return [total, [{ do: 'note', text: String(message.error) }]]
        case 'total':
          return [total, [answer(message.replyTo, total)]]
        case 'refuse':
          return [total, [answerFailed(message.replyTo, 'no total today')]]
        default:
          return message satisfies never
      }
    },
    perform(effect, self) {
      if (effect.do === 'note') {
        notes.push(effect.text)
      } else {
        pipe(
          self,
          effect.from(),
          (amount) => ({ type: 'loaded', amount }),
          (error) => ({ type: 'loadFailed', error }),
        )
      }
    },
    ...(settle && { settle }),
  })
  return spawn(startActorSystem(), `counter-${crypto.randomUUID()}`, behaviour, () => {}).ref
}
