import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  type Asks,
  ask,
  createPlace,
  refOf,
  tell,
  tellAskerItFailed,
} from '../../src/actors/actor-ref.ts'
import type { MailAddress } from '../../src/cluster/outbox.ts'
import { createReferences, type References } from '../../src/cluster/references.ts'
import { noLog } from '../support/cluster/members.ts'

type Question = Readonly<{ type: 'double'; n: number } & Asks<number>>
type Message = Question | Readonly<{ type: 'note'; text?: string | undefined }>

describe('an actor of another node', () => {
  it('receives messages, and its answers return to whoever asked', async () => {
    const { a, b } = twoNodes()
    const notes: unknown[] = []
    b.references.publish(
      refOf<Message>('doubler', (message) => {
        if (message.type === 'double') return tell(message.replyTo, message.n * 2)
        notes.push(message)
        return true
      }),
    )
    const doubler = a.references.remote<Message>('doubler', () => b.address)
    expect(tell(doubler, { type: 'note', text: undefined })).toBe(true)
    expect(await ask(doubler, { type: 'double', n: 21 })).toBe(42)
    expect(notes).toStrictEqual([{ type: 'note', text: undefined }])
  })

  it('fails a question at once that it dies of, or when it does not run there', async () => {
    const { a, b } = twoNodes()
    const dying = refOf<Message>('dying', (message) => {
      tellAskerItFailed(message, 'dying crashed on this question')
      return true
    })
    b.references.publish(dying)
    b.references.publish(createPlace<Message>('empty'))
    for (const [name, why] of [
      ['dying', 'dying crashed on this question'],
      ['empty', 'empty on node b is not running'],
      ['unknown', 'unknown on node b is not running'],
    ] as const) {
      const actor = a.references.remote<Message>(name, () => b.address)
      await expect(ask(actor, { type: 'double', n: 1 })).rejects.toThrow(why)
    }
  })

  it('is not running while its node is not known, or the session has ended', async () => {
    const { a, b } = twoNodes()
    const unknown = a.references.remote<Message>('doubler', () => undefined)
    expect(tell(unknown, { type: 'note' })).toBe(false)
    a.refuses = true
    const gone = a.references.remote<Message>('doubler', () => b.address)
    await expect(ask(gone, { type: 'double', n: 1 })).rejects.toThrow('doubler is not running')
  })

  it('leaves a question whose letter or answer is lost to its time limit', async () => {
    const { a, b } = twoNodes()
    b.references.publish(doubler())
    const remote = a.references.remote<Message>('doubler', () => b.address)
    for (const loser of [a, b]) {
      loser.loses = true
      await expect(ask(remote, { type: 'double', n: 1 }, 20)).rejects.toThrow('within 20 ms')
      loser.loses = false
    }
    expect(await ask(remote, { type: 'double', n: 1 })).toBe(2)
  })

  it('answers each question with its own answer, in whatever order, and however often, letters arrive', () => {
    return fc.assert(
      fc.asyncProperty(
        fc.array(fc.nat(1_000), { maxLength: 8 }),
        fc.nat(),
        async (numbers, seed) => {
          const { a, b } = twoNodes()
          a.disorder(seed)
          b.disorder(seed)
          b.references.publish(doubler())
          const remote = a.references.remote<Message>('doubler', () => b.address)
          const answers = await Promise.all(numbers.map((n) => ask(remote, { type: 'double', n })))
          expect(answers).toEqual(numbers.map((n) => n * 2))
        },
      ),
    )
  })

  it('forgets questions that were never answered', async () => {
    let now = 0
    const { a, b } = twoNodes(() => now)
    const remote = a.references.remote<Message>('doubler', () => b.address)
    a.loses = true
    const forgotten = expect(ask(remote, { type: 'double', n: 1 }, 60_000)).rejects.toThrow(
      'no answer from the other node',
    )
    now += 11 * 60_000
    a.loses = false
    b.references.publish(doubler())
    expect(await ask(remote, { type: 'double', n: 2 })).toBe(4)
    await forgotten
  })

  it('receives messages that may take a second in letters that may wait, and others at once', () => {
    const posted: unknown[] = []
    const references = createReferences({
      here: () => ({ node: 'a', session: 1 }),
      post(_to, _body, options) {
        posted.push(options)
        return true
      },
      log: noLog,
    })
    const to = { node: 'b', session: 1 }
    const remote = references.remote<Message>(
      'notes',
      () => to,
      ({ type }) => type === 'note',
    )
    tell(remote, { type: 'note' })
    void ask(remote, { type: 'double', n: 1 }, 1).catch(() => {})
    expect(posted).toEqual([{ mayWait: true }, { mayWait: false }])
  })

  it('is not harmed by a letter that cannot be read', () => {
    const { b } = twoNodes()
    for (const body of ['', '{', 'null', '{"to":{"$":"date"}}', '{"failed":7}']) {
      expect(() => b.references.receive(body)).not.toThrow()
    }
  })
})

const doubler = () =>
  refOf<Message>(
    'doubler',
    (message) => message.type === 'double' && tell(message.replyTo, message.n * 2),
  )

/** Two nodes, and mail between them that arrives in the next turn. */
function twoNodes(monotonicNow: () => number = () => 0) {
  const a = aNode('a')
  const b = aNode('b')
  return { a, b }

  function aNode(node: string) {
    const address: MailAddress = { node, session: 1 }
    const self = {
      address,
      refuses: false,
      loses: false,
      /** Letters arrive late, and some of them twice. */
      disorder(seed: number) {
        turns = seed
      },
      references: createReferences({ here: () => address, post, log: noLog, monotonicNow }),
    }
    let turns: number | undefined
    return self

    function post(to: MailAddress, body: string): boolean {
      if (self.refuses) return false
      if (self.loses) return true
      const receiver: References = (to.node === 'a' ? a : b).references
      if (turns === undefined) setImmediate(() => receiver.receive(body))
      else {
        turns = (turns * 1_103_515_245 + 12_345) % 2 ** 31
        setTimeout(() => receiver.receive(body), turns % 4)
        if (turns % 3 === 0) setTimeout(() => receiver.receive(body), turns % 5)
      }
      return true
    }
  }
}
