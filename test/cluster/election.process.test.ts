import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Client } from 'pg'
import { describe, expect, it, onTestFinished } from 'vitest'
import { postgresMissing } from '../../bench/postgres.ts'
import { type Connection, openClusterDatabase } from '../../src/cluster/database.ts'
import { readDatabaseClock } from '../../src/cluster/database-clock.ts'
import { type ElectionObserver, startElection } from '../../src/cluster/election.ts'
import { beginOf } from '../../src/infra/store/postgres/fence.ts'
import { anElectionNode, type ElectionNode, theLeaderOf } from '../support/cluster/election-node.ts'
import { usePostgres } from '../support/cluster/postgres.ts'
import { aSilentProxy } from '../support/cluster/silent-proxy.ts'
import { aSteppedClock } from '../support/stepped-clock.ts'

const hour = 60 * 60 * 1000

const missing = postgresMissing()

describe.skipIf(missing)(`an election on PostgreSQL${missing ? `: ${missing}` : ''}`, () => {
  const postgres = usePostgres()

  it('has exactly one next leader, of the next term, each time that the leader is killed', async () => {
    const { url } = await postgres.aDatabase()
    let nodes = ['a', 'b', 'c'].map((name) => anElectionNode(url, name))
    const terms: number[] = []
    while (nodes.length > 0) {
      const leader = await theLeaderOf(nodes)
      terms.push((await leader.happens('leads')).term)
      leader.child.kill('SIGKILL')
      nodes = nodes.filter((node) => node !== leader)
    }
    expect(terms).toEqual([...new Set(terms)].toSorted((a, b) => a - b))
    expect(terms).toHaveLength(3)
  })

  it('rejects the commit of a leader that was replaced without its knowledge, and deposes it', async () => {
    const { url, query } = await postgres.aDatabase()
    await query('create table written (term int)')
    const old = anElectionNode(url, 'old')
    await old.happens('leads')
    old.order('commit')
    await old.happens('committed')
    const next = anElectionNode(url, 'next')
    await next.happens('follows')
    old.child.kill('SIGSTOP')
    await next.happens('leads')
    next.order('commit')
    await next.happens('committed')

    old.order('commit')
    old.child.kill('SIGCONT')
    const { why } = await old.happens('deposed')
    const [status] = await old.exited

    expect(why).toBe('term 1 of this node has ended: next leads in term 2')
    expect(status).toBe(1)
    expect(await query('select term from written order by term')).toEqual([
      { term: 1 },
      { term: 2 },
    ])
  })

  it('leaves the lead to others as long as a node could not lead', async () => {
    const { url } = await postgres.aDatabase()
    let asked = 0
    let could = false
    const canLead = async () => {
      asked += 1
      return could
    }
    const unable = await aNode(url, 'unable', { lostMs: 300, beatMs: 20, canLead })
    await expect.poll(() => asked).toBeGreaterThan(3)
    expect(unable.events).not.toContain('leads in term 1')
    could = true
    await expect.poll(() => unable.events).toContain('leads in term 1')
  })

  it('waits for a commit of the leader that has passed its fence, and no longer than the database lets it stand still', async () => {
    const { url, query } = await postgres.aDatabase()
    await query('create table written (term int)')
    const old = anElectionNode(url, 'old')
    await old.happens('leads')
    old.child.kill('SIGSTOP')
    const next = await aNode(url, 'next', { lostMs: 600, beatMs: 50 })
    const leading = () => next.events.filter((event) => event.startsWith('leads'))

    const commit = await aFencedTransaction(url, 1, { idleMs: 0 })
    await expect.poll(next.claims).toBeGreaterThan(3)
    expect(leading()).toEqual([])
    await commit.query('commit')
    await expect.poll(leading).toHaveLength(1)
    expect(await query('select term from written')).toEqual([{ term: 1 }])

    const [{ term }] = (await query<{ term: string }>('select term from leader')) as [
      { term: string },
    ]
    const frozen = await aFencedTransaction(url, Number(term), { idleMs: 300 })
    await query(`update leader set term = term + 1`)
    await expect(frozen.query('commit')).rejects.toThrow()
    expect(await query('select term from written')).toEqual([{ term: 1 }])
  })

  it('keeps a leader whose commit takes longer than the time after which it counts as lost, and nobody waits behind it', async () => {
    const { url, query } = await postgres.aDatabase()
    await query('create table written (term int)')
    const a = await aNode(url, 'a', { lostMs: 600, beatMs: 50 })
    await expect.poll(() => a.events).toEqual(['leads in term 1'])
    const b = await aNode(url, 'b', { lostMs: 600, beatMs: 50 })
    const commit = await aFencedTransaction(url, 1, { idleMs: 0 })
    const waiting = `select query from pg_stat_activity where wait_event_type = 'Lock'`
    for (const claims of [1, 10, 20]) {
      await expect.poll(b.claims).toBeGreaterThan(claims)
      expect(await query(waiting)).toEqual([])
    }
    expect(a.election.standing()).toMatchObject({ isCertain: false })
    await commit.query('commit')
    await expect.poll(() => a.election.standing()).toMatchObject({ isCertain: true })
    const before = b.claims()
    const looks = b.looks()
    await expect.poll(b.looks).toBeGreaterThan(looks + 20)
    expect(b.claims()).toBe(before)
    expect([...a.events, ...b.events]).toEqual(['leads in term 1', 'a leads in term 1'])
  })

  it('gives the lead back at once to a node that finds its previous run in it', async () => {
    const { url } = await postgres.aDatabase()
    const before = anElectionNode(url, 'a', { lostMs: 60_000 })
    await before.happens('leads')
    before.child.kill('SIGKILL')
    await before.exited
    const after = anElectionNode(url, 'a', { lostMs: 60_000 })
    expect((await after.happens('leads')).term).toBe(2)
  })

  it('does not take another machine of the same name for a previous run', async () => {
    const { url } = await postgres.aDatabase()
    const one = anElectionNode(url, 'a', { home: 'one' })
    await one.happens('leads')
    const other = anElectionNode(url, 'a', { home: 'other' })
    await other.happens('follows')
    one.child.kill('SIGKILL')
    expect((await other.happens('leads')).term).toBe(2)
  })

  it('is decided by no clock, and nodes whose clocks are hours apart agree on the time', async () => {
    const { url } = await postgres.aDatabase()
    const [ahead, behind] = [hour, -hour].map((ms, index) => {
      const directory = mkdtempSync(join(tmpdir(), 'wan-clock-'))
      onTestFinished(() => rmSync(directory, { recursive: true }))
      return anElectionNode(url, `node-${index}`, { env: aSteppedClock(directory, ms).env })
    }) as [ElectionNode, ElectionNode]
    const leader = await theLeaderOf([ahead, behind])
    for (const node of [ahead, behind]) node.order('time')
    const [one, other] = await Promise.all([ahead.happens('time'), behind.happens('time')])
    expect(Math.abs(Number(one.wallMs) - Number(other.wallMs))).toBeGreaterThan(1.9 * hour)
    expect(Math.abs(Number(one.databaseMs) - Number(other.databaseMs))).toBeLessThan(2_000)
    leader.child.kill('SIGKILL')
    const next = leader === ahead ? behind : ahead
    expect((await next.happens('leads')).term).toBeGreaterThan(1)
  })

  it('needs no waiting after a leader that resigned', async () => {
    const { url } = await postgres.aDatabase()
    const first = anElectionNode(url, 'a', { lostMs: 60_000 })
    await first.happens('leads')
    const { events } = await aNode(url, 'b', { lostMs: 60_000, beatMs: 20 })
    await expect.poll(() => events).toEqual(['a leads in term 1'])
    first.order('resign')
    await expect.poll(() => events).toContain('leads in term 2')
  })

  it('takes no leader for lost because the database crashed', async () => {
    const { url } = await postgres.aDatabase()
    const a = await aNode(url, 'a', { lostMs: 1_000, beatMs: 100 })
    await expect.poll(() => a.events).toEqual(['leads in term 1'])
    const b = await aNode(url, 'b', { lostMs: 1_000, beatMs: 100 })
    await expect.poll(() => b.events).toEqual(['a leads in term 1'])

    await postgres.server().stop('SIGKILL')
    await expect.poll(() => a.election.standing()).toMatchObject({ isCertain: false })
    await postgres.server().startAgain()

    const certain = { term: 1, isCertain: true }
    await expect.poll(() => a.election.standing()).toEqual({ role: 'leads', ...certain })
    await expect.poll(() => b.election.standing()).toMatchObject({ isCertain: true })
    expect(a.events).toEqual(['leads in term 1'])
    expect(b.events).toEqual(['a leads in term 1'])
  })

  it('keeps a leader certain whose beats are left out for its commits', async () => {
    const { url } = await postgres.aDatabase()
    const a = await aNode(url, 'a', { lostMs: 1_000, beatMs: 100 })
    await expect.poll(() => a.events).toEqual(['leads in term 1'])
    const client = new Client(url)
    await client.connect()
    onTestFinished(() => client.end())
    await client.query('begin; update leader set beat = beat + 1 where term = 1')
    await expect.poll(() => a.election.standing()).toMatchObject({ isCertain: false })
    a.election.confirm(performance.now())
    expect(a.election.standing()).toMatchObject({ isCertain: true })
    // A commit that began long ago confirms nothing newer.
    a.election.confirm(performance.now() - 5_000)
    expect(a.election.standing()).toMatchObject({ isCertain: true })
    await client.query('rollback')
  })

  it('replaces a leader behind a silent network, which does not know whether it leads', async () => {
    const { url } = await postgres.aDatabase()
    const proxy = await aSilentProxy(url)
    const a = await aNode(proxy.url, 'a', { lostMs: 1_000, beatMs: 100 })
    await expect.poll(() => a.events).toEqual(['leads in term 1'])
    const b = await aNode(url, 'b', { lostMs: 1_000, beatMs: 100 })
    proxy.fallSilent()

    await expect.poll(() => b.events).toContain('leads in term 2')
    expect(a.election.standing()).toEqual({ role: 'leads', term: 1, isCertain: false })

    proxy.heal()
    const deposed = 'deposed: term 1 of this node has ended: b leads in term 2'
    await expect.poll(() => a.events).toEqual(['leads in term 1', deposed])
    expect(a.election.standing()).toEqual({ role: 'ended' })
  })
})

type NodeOptions = Readonly<{ lostMs: number; beatMs: number; canLead?: () => Promise<boolean> }>

/** A node in this process. */
async function aNode(url: string, name: string, options: NodeOptions) {
  const events: string[] = []
  const observer: ElectionObserver = {
    leads: (term) => events.push(`leads in term ${term}`),
    follows: ({ node, term }) => events.push(`${node} leads in term ${term}`),
    deposed: (why) => events.push(`deposed: ${why}`),
  }
  const quiet = () => {}
  const database = await openClusterDatabase({ url, limitMs: 800 })
  const statements: string[] = []
  const connection: Connection = {
    query(text, values) {
      statements.push(text)
      return database.beats.query(text, values)
    },
  }
  const election = startElection({
    connection,
    me: { name, home: name },
    clock: await readDatabaseClock(database.beats),
    observer,
    log: { debug: quiet, info: quiet, warn: quiet, error: quiet },
    ...options,
  })
  onTestFinished(async () => {
    await election.resign().catch(() => {})
    void database.close()
  })
  const claims = () => statements.filter((text) => text.includes('term + 1')).length
  return { events, election, claims, looks: () => statements.length }
}

/** A commit of the leader of this term, held at a breakpoint after its fence and its first change. */
async function aFencedTransaction(url: string, term: number, { idleMs }: { idleMs: number }) {
  const client = new Client({ connectionString: url, idle_in_transaction_session_timeout: idleMs })
  client.on('error', () => {})
  onTestFinished(() => void client.end().catch(() => {}))
  await client.connect()
  const begun = await client.query(beginOf({ term }, { maxStatementMs: undefined }))
  expect([begun].flat().at(-1)).toMatchObject({ rowCount: 1 })
  await client.query('insert into written values ($1)', [term])
  return client
}
