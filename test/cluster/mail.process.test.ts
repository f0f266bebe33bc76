import { describe, expect, it, onTestFinished } from 'vitest'
import { postgresMissing } from '../../bench/postgres.ts'
import { type Asks, ask, refOf, tell } from '../../src/actors/actor-ref.ts'
import { deleteUnreadable } from '../../src/cluster/inbox.ts'
import { channelOf } from '../../src/cluster/node-name.ts'
import { aMailbox, type Mailbox } from '../support/cluster/mailbox.ts'
import { aClusterDatabase } from '../support/cluster/members.ts'
import { type TestDatabase, usePostgres } from '../support/cluster/postgres.ts'
import { aSilentProxy } from '../support/cluster/silent-proxy.ts'

const missing = postgresMissing()

describe.skipIf(missing)(`mail on PostgreSQL${missing ? `: ${missing}` : ''}`, () => {
  const postgres = usePostgres()

  it('arrives in order for each sender, at each of 20 listeners', async () => {
    const { url, query } = await postgres.aDatabase()
    const names = Array.from({ length: 20 }, (_, n) => `node-${n}`)
    const boxes = await Promise.all(names.map((name) => aMailbox(url, name)))
    await expect.poll(() => boxes.every(({ mail }) => mail.isListening())).toBe(true)
    for (let n = 0; n < 20; n++) {
      for (const from of boxes) {
        for (const to of boxes) from.mail.post(to.address(), `${from.name} ${n}`)
      }
      if (n % 5 === 0) await new Promise((resolve) => setImmediate(resolve))
    }
    await expect.poll(() => boxes.map(({ letters }) => letters.length)).toEqual(Array(20).fill(400))
    for (const { letters, mail } of boxes) {
      for (const { name } of boxes) {
        const own = letters.filter((letter) => letter.startsWith(`${name} `))
        expect(own).toEqual(Array.from({ length: 20 }, (_, n) => `${name} ${n}`))
      }
      expect(mail.counts()).toMatchObject({ repeated: 0, outdated: 0, missed: 0, dropped: 0 })
    }
    expect(await query('select * from mail')).toEqual([])
  })

  it('arrives as it was sent, whatever text it is', async () => {
    const { a, b } = await twoBoxes()
    const bodies = [`'"\\{},NULL`, JSON.stringify('\0 \ud800 \u{1f98a}'), '', '{}', ' \n']
    for (const body of bodies) a.mail.post(b.address(), body)
    await expect.poll(() => b.letters).toEqual(bodies)
  })

  it('is dropped and counted when the database refuses it, and later letters arrive', async () => {
    const { a, b } = await twoBoxes()
    a.mail.post(b.address(), 'not JSON: \0')
    await expect.poll(() => a.mail.counts().dropped).toBe(1)
    a.mail.post(b.address(), 'next')
    await expect.poll(() => b.letters).toEqual(['next'])
    expect(b.mail.counts().missed).toBe(1)
  })

  it('that may wait arrives without a notification, or with the next letter that wakes its receiver, in order', async () => {
    const { a, b, url, query } = await twoBoxes()
    const heard: string[] = []
    const listener = await (await aClusterDatabase(url)).openListener(channelOf('b'), (payload) =>
      heard.push(payload),
    )
    onTestFinished(listener.end)
    a.mail.post(b.address(), 'first', { mayWait: true })
    expect(a.mail.counts().waiting).toBe(1)
    await expect.poll(() => b.letters, { timeout: 3_000 }).toEqual(['first'])
    a.mail.post(b.address(), 'second', { mayWait: true })
    a.mail.post(b.address(), 'third')
    await expect.poll(() => b.letters).toEqual(['first', 'second', 'third'])
    await query(`select pg_notify('${channelOf('b')}', 'end')`)
    await expect.poll(() => heard).toContain('end')
    expect(heard.filter((payload) => payload === '')).toHaveLength(1)
    expect(b.mail.counts()).toMatchObject({ missed: 0, repeated: 0 })
  })

  it('that may wait is written when its sender stops', async () => {
    const { a, b, query } = await twoBoxes()
    await b.mail.close()
    a.mail.post(b.address(), 'last', { mayWait: true })
    await a.mail.close()
    expect(await query('select body from mail')).toEqual([{ body: 'last' }])
  })

  it('carries questions to actors of another node, and their answers', async () => {
    const { a, b } = await twoBoxes()
    type Question = Readonly<{ type: 'double'; n: number } & Asks<number>>
    b.references.publish(refOf<Question>('doubler', ({ n, replyTo }) => tell(replyTo, n * 2)))
    const doubler = a.references.remote<Question>('doubler', b.address)
    expect(await ask(doubler, { type: 'double', n: 21 })).toBe(42)
  })

  it('of a leader is written while it leads, and dropped when a later term was seen', async () => {
    const { url, query } = await postgres.aDatabase()
    await query('update leader set term = 7')
    const deposed = await aMailbox(url, 'deposed', { term: () => 6 })
    const leader = await aMailbox(url, 'leader', { term: () => 7 })
    const node = await aMailbox(url, 'node')
    deposed.mail.post(node.address(), 'of term 6')
    leader.mail.post(node.address(), 'of term 7')
    await expect.poll(() => node.letters).toEqual(['of term 7'])
    node.mail.sawTerm(8)
    leader.mail.post(node.address(), 'too late')
    await expect.poll(() => node.mail.counts().outdated).toBe(1)
    expect(node.letters).toEqual(['of term 7'])
  })

  it('for an earlier session is not delivered, and numbers begin again', async () => {
    const { url, query } = await postgres.aDatabase()
    const a = await aMailbox(url, 'a')
    const b = await aMailbox(url, 'b', { lostMs: 60_000 })
    const former = b.address()
    a.mail.post(former, 'before')
    await expect.poll(() => b.letters).toEqual(['before'])
    await query(`update node set session = session + 1, state = 'lost' where name = 'b'`)
    await expect.poll(() => b.events).toEqual([`rejoined as ${former.session + 1}`])
    a.mail.post(former, 'too late')
    a.mail.post(b.address(), 'after')
    await expect.poll(() => b.letters).toEqual(['before', 'after'])
    expect(a.mail.post(former, 'too late')).toBe(false)
    expect(b.mail.counts().missed).toBe(0)
  })

  it('for a process that took over the name is left to it', async () => {
    const { a, b, query } = await twoBoxes()
    const { node, session } = b.address()
    await query(
      `update node set session = session + 1, run = 'other', home = 'other' where name = 'b'`,
    )
    a.mail.post({ node, session: session + 1 }, 'for the other')
    await expect.poll(() => query('select body from mail')).toEqual([{ body: 'for the other' }])
    await expect.poll(() => b.events).toHaveLength(1)
    expect(b.letters).toEqual([])
    expect(await query('select body from mail')).toEqual([{ body: 'for the other' }])
  })

  it('is delivered once when it was written twice, and its loss is noticed', async () => {
    const { b, query } = await twoBoxes()
    await expect.poll(() => b.missed()).toBe(1)
    const numbers = [1, 2, 1, 2, 3, 5, 4]
    const { session } = b.address()
    const values = numbers.map((n) => `('b', ${session}, 'run', ${n}, 'letter ${n}')`)
    await query(
      `insert into mail (to_node, to_session, from_run, number, body) values ${values.join()}`,
    )
    const once = [1, 2, 3, 5].map((n) => `letter ${n}`)
    await expect.poll(() => b.letters).toEqual(once)
    expect(b.mail.counts()).toMatchObject({ repeated: 3, missed: 1 })
    expect(b.missed()).toBe(2)
  })

  it('waits while the database does not answer; beyond a limit the oldest is dropped', async () => {
    const database = await postgres.aDatabase()
    const proxy = await aSilentProxy(database.url)
    const a = await aMailbox(proxy.url, 'a', { maxWaiting: 3, limitMs: 400 })
    const b = await aMailbox(database.url, 'b')
    await expect.poll(() => a.mail.isListening()).toBe(true)
    proxy.fallSilent()
    a.mail.post(b.address(), 'in flight')
    await expect.poll(() => a.mail.counts().waiting).toBe(0)
    for (const n of [1, 2, 3, 4, 5]) a.mail.post(b.address(), `letter ${n}`)
    expect(a.mail.counts()).toMatchObject({ dropped: 2, waiting: 3 })
    await expect.poll(() => a.mail.isListening()).toBe(false)
    const missedBefore = a.missed()
    proxy.heal()
    await expect.poll(() => b.letters).toEqual(['in flight', 'letter 3', 'letter 4', 'letter 5'])
    expect(b.mail.counts().missed).toBe(2)
    await expect.poll(() => a.missed()).toBeGreaterThan(missedBefore)
    b.mail.post(a.address(), 'back')
    await expect.poll(() => a.letters).toEqual(['back'])
  })

  it('goes on after a crash of the database, and both sides know that some may be lost', async () => {
    const { a, b } = await twoBoxes()
    a.mail.post(b.address(), 'before')
    await expect.poll(() => b.letters).toEqual(['before'])
    const missedBefore = [a.missed(), b.missed()] as const
    await postgres.server().stop('SIGKILL')
    a.mail.post(b.address(), 'meanwhile')
    await postgres.server().startAgain()
    await expect.poll(() => b.letters).toEqual(['before', 'meanwhile'])
    await expect.poll(() => a.missed()).toBeGreaterThan(missedBefore[0])
    await expect.poll(() => b.missed()).toBeGreaterThan(missedBefore[1])
    await expect.poll(() => b.mail.isListening()).toBe(true)
  })

  it('arrives without LISTEN, by polling', async () => {
    const { url } = await postgres.aDatabase()
    const a = await aMailbox(url, 'a', { listens: false })
    a.mail.post(a.address(), 'to itself')
    await expect.poll(() => a.letters).toEqual(['to itself'])
    expect(a.mail.isListening()).toBe(false)
  })

  it('for nodes that are lost, have left or were removed is deleted', async () => {
    const { a, url, query } = await twoBoxes()
    const states = ['present', 'lost', 'left'] as const
    for (const state of states) {
      await query(`insert into node values ('${state}', '', '', 4, '${state}', 0, '', '', '[]', 1)`)
    }
    await query(
      `insert into mail (to_node, to_session, from_run, number, body)
       select name, session, '', 1, '' from (values ('present', 3), ('present', 4), ('lost', 4), ('left', 4),
         ('removed', 1)) as letter (name, session)`,
    )
    await deleteUnreadable((await aClusterDatabase(url)).mail)
    const left = [{ to_node: 'present', to_session: '4' }]
    expect(await query('select to_node, to_session from mail')).toEqual(left)
    expect(a.mail.post({ node: 'removed', session: 1 }, 'nobody reads it')).toBe(true)
  })

  it('arrives by polling where LISTEN brings nothing, as behind a pooler of transactions', async () => {
    const { url } = await postgres.aDatabase()
    const a = await aMailbox(url, 'a', { isDeaf: true })
    await expect
      .poll(() => a.warnings)
      .toEqual(['the database brings no notifications; this node polls for its mail'])
    a.mail.post(a.address(), 'to itself')
    await expect.poll(() => a.letters).toEqual(['to itself'])
    expect(a.mail.isListening()).toBe(false)
  })

  async function twoBoxes(): Promise<TestDatabase & { a: Mailbox; b: Mailbox }> {
    const database = await postgres.aDatabase()
    const a = await aMailbox(database.url, 'a')
    const b = await aMailbox(database.url, 'b')
    await expect.poll(() => a.mail.isListening() && b.mail.isListening()).toBe(true)
    return { ...database, a, b }
  }
})
