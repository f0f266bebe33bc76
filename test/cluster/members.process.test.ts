import { setTimeout as delay } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { postgresMissing } from '../../bench/postgres.ts'
import { listNodes, removeNode } from '../../src/cluster/node-table.ts'
import { stillMs, type Watch } from '../../src/cluster/watch.ts'
import {
  aClusterDatabase,
  aDescription,
  aMember,
  aMemberWatch,
} from '../support/cluster/members.ts'
import { usePostgres } from '../support/cluster/postgres.ts'
import { aSilentProxy } from '../support/cluster/silent-proxy.ts'

const never: Watch = { key: '', since: 0, until: 0, answeredAt: 0 }

const missing = postgresMissing()

describe.skipIf(missing)(`nodes of a cluster on PostgreSQL${missing ? `: ${missing}` : ''}`, () => {
  const postgres = usePostgres()

  it('join, change, leave and come back, and the leader sees each', async () => {
    const { url, query } = await postgres.aDatabase()
    const database = await aClusterDatabase(url)
    const { events } = aMemberWatch(database)
    const first = await aMember(url, 'a')
    const session = first.membership.session()
    await expect.poll(() => events).toEqual([`joined a ${session}`])
    first.membership.describe({ ...aDescription, maxLoads: 2 })
    await expect.poll(() => events).toContain(`changed a ${session}`)
    await first.membership.leave()
    await expect.poll(() => events).toContain(`left a ${session}`)
    const second = await aMember(url, 'a')
    await expect.poll(() => events).toContain(`returned a ${session + 1}`)
    expect(second.membership.session()).toBe(session + 1)
    expect(await listNodes(database.beats)).toMatchObject([{ name: 'a', state: 'present' }])
    await query("delete from node where name = 'a'")
    await expect.poll(() => events.at(-1)).toBe(`removed a ${session + 1}`)
    const why = 'node "a" was removed from the cluster. It joins again when it is started.'
    await expect.poll(() => second.events).toEqual([`expelled: ${why}`])
  })

  it('that fall silent are lost, and come back with the session that they were given', async () => {
    const { url } = await postgres.aDatabase()
    const proxy = await aSilentProxy(url)
    const { events } = aMemberWatch(await aClusterDatabase(url))
    const node = await aMember(proxy.url, 'a', { limitMs: 400 })
    const next = node.membership.session() + 1
    const other = await aMember(url, 'b')
    await expect.poll(node.membership.isConfirmed).toBe(true)
    proxy.fallSilent()
    await expect.poll(() => events).toContain(`lost a ${next}`)
    expect(node.membership.isConfirmed()).toBe(false)
    proxy.heal()
    await expect.poll(() => events).toContain(`returned a ${next} after loss`)
    await expect.poll(() => node.events).toEqual([`rejoined as ${next}`])
    expect(node.membership.session()).toBe(next)
    await expect.poll(node.membership.isConfirmed).toBe(true)
    expect(events.filter((event) => event.includes('b'))).toEqual([
      `joined b ${other.membership.session()}`,
    ])
  })

  it('that left are lost too, later than others, and the next leader reports them as lost or left', async () => {
    const { url } = await postgres.aDatabase()
    const database = await aClusterDatabase(url)
    const silent = await aSilentProxy(url)
    const stopped = await aMember(silent.url, 'silent', { limitMs: 400 })
    const leaver = await aMember(url, 'leaver')
    const [left, lost] = [leaver, stopped].map(({ membership }) => membership.session() + 1)
    const watch = aMemberWatch(database)
    await expect.poll(() => watch.events).toHaveLength(2)
    await leaver.membership.leave()
    silent.fallSilent()
    await expect.poll(() => watch.events).toContain(`lost silent ${lost}`)
    expect(watch.events).not.toContain(`lost leaver ${left}`)
    await expect.poll(() => watch.events).toContain(`lost leaver ${left}`)
    await watch.stop()
    const next = aMemberWatch(database, { lostMs: 60_000 })
    await expect
      .poll(() => next.events.toSorted())
      .toEqual([`left leaver ${left}`, `lost silent ${lost}`])
  })

  it('are not counted as lost by a node that leads no longer', async () => {
    const { url, query } = await postgres.aDatabase()
    const proxy = await aSilentProxy(url)
    const deposed = aMemberWatch(await aClusterDatabase(url), { term: 0 })
    const { membership } = await aMember(proxy.url, 'a', { limitMs: 400 })
    const joined = `joined a ${membership.session()}`
    await expect.poll(() => deposed.events).toEqual([joined])
    await query('update leader set term = 1')
    proxy.fallSilent()
    const seen = () => deposed.members().get('a')?.seen
    await expect.poll(() => stillMs(seen() ?? never)).toBeGreaterThan(1_200)
    expect(deposed.events).toEqual([joined])
  })

  it('that join again after their removal get a session above all that they had', async () => {
    const { url } = await postgres.aDatabase()
    await aMember(url, 'a')
    const { membership, database } = await aMember(url, 'a')
    const last = membership.session()
    await membership.leave()
    await removeNode(database.beats, 'a')
    const again = await aMember(url, 'a')
    expect(again.membership.session()).toBeGreaterThan(last)
  })

  it('cannot have the name of another machine that works', async () => {
    const { url } = await postgres.aDatabase()
    await aMember(url, 'a', { home: 'one' })
    await expect(aMember(url, 'a', { home: 'other' })).rejects.toThrow(
      'another machine of this cluster is called "a" and works at http://10.0.0.7:8080. Give each machine a NODE_NAME',
    )
  })

  it('cannot have a copy of the data directory of a node that works, but can be called otherwise when it has ended', async () => {
    const { url } = await postgres.aDatabase()
    const original = await aMember(url, 'a', { home: 'one' })
    await expect(aMember(url, 'b', { home: 'one' })).rejects.toThrow(
      'the node "a" at http://10.0.0.7:8080 works with a copy of this data directory. Start this machine with an empty DATA_DIR',
    )
    await original.membership.leave()
    const renamed = await aMember(url, 'b', { home: 'one' })
    expect(renamed.events).toEqual([])
  })

  it('take over the name of a machine that stands still, which ends when it wakes up', async () => {
    const { url } = await postgres.aDatabase()
    const proxy = await aSilentProxy(url)
    const old = await aMember(proxy.url, 'a', { home: 'one', limitMs: 400 })
    const session = old.membership.session()
    proxy.fallSilent()
    const next = await aMember(url, 'a', { home: 'other' })
    expect(next.membership.session()).toBe(session + 1)
    proxy.heal()
    await expect
      .poll(() => old.events)
      .toEqual([
        expect.stringContaining(
          'expelled: another machine (http://10.0.0.7:8080) joined as node "a"',
        ),
      ])
    expect(next.events).toEqual([])
  })

  it('need not wait for their previous run, and end when a copy of their data directory joins', async () => {
    const { url } = await postgres.aDatabase()
    const before = await aMember(url, 'a', { lostMs: 60_000 })
    const after = await aMember(url, 'a', { lostMs: 60_000 })
    expect(after.membership.session()).toBe(before.membership.session() + 1)
    await expect
      .poll(() => before.events)
      .toEqual([
        expect.stringContaining('expelled: another process joined as node "a" with a copy'),
      ])
  })

  it('are not lost because the database crashed', async () => {
    const { url } = await postgres.aDatabase()
    const { events, members } = aMemberWatch(await aClusterDatabase(url))
    const nodes = await Promise.all(['a', 'b', 'c'].map((name) => aMember(url, name)))
    await expect.poll(() => events).toHaveLength(3)
    const beat = () => members().get('a')?.node.beat ?? 0
    await postgres.server().stop('SIGKILL')
    const before = beat()
    // An outage that is longer than the time after which a node counts as lost.
    await delay(900)
    await postgres.server().startAgain()
    await expect.poll(beat).toBeGreaterThan(before + 15)
    expect(events.filter((event) => !event.startsWith('joined'))).toEqual([])
    expect(nodes.flatMap((node) => node.events)).toEqual([])
  })
})
