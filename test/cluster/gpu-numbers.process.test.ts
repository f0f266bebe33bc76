import { Client } from 'pg'
import * as v from 'valibot'
import { describe, expect, it, onTestFinished } from 'vitest'
import { postgresMissing } from '../../bench/postgres.ts'
import type { Connection } from '../../src/cluster/database.ts'
import { numberGpus, readGpuPlaces } from '../../src/cluster/gpu-numbers.ts'
import { NodeName } from '../../src/cluster/node-name.ts'
import { removeNode } from '../../src/cluster/node-table.ts'
import { aClusterDatabase, aMember } from '../support/cluster/members.ts'
import { usePostgres } from '../support/cluster/postgres.ts'

type Rest<All extends unknown[]> = All extends [unknown, unknown, ...infer Others] ? Others : never

const missing = postgresMissing()
const why = missing ? `: ${missing}` : ''

describe.skipIf(missing)(`numbers of the GPUs of a cluster on PostgreSQL${why}`, () => {
  const postgres = usePostgres()
  const named = (name: string, home = `that of ${name}`) => ({
    name: v.parse(NodeName, name),
    home,
  })
  const devices = (...names: string[]) => names.map((device) => ({ device }))
  const numbersOf = async (connection: Connection, node: string, ...names: string[]) =>
    (await numberGpus(connection, named(node), devices(...names))).map(({ id }) => id)
  const firstDevices = (count: number) => Array.from({ length: count }, (_, n) => `${n}`)
  const aConnection = async () => {
    const { url, query } = await postgres.aDatabase()
    return { url, query, connection: (await aClusterDatabase(url)).beats }
  }

  it('begin at 0, continue with those of the next node, and remain when a node asks again', async () => {
    const { connection } = await aConnection()
    expect(await numbersOf(connection, 'a', '2', '3')).toEqual([0, 1])
    expect(await numbersOf(connection, 'b', '0', '1')).toEqual([2, 3])
    expect(await numbersOf(connection, 'a', '3', '2')).toEqual([1, 0])
  })

  it('remain with devices that their node has no longer, and a new device gets the smallest one that is free', async () => {
    const { connection, query } = await aConnection()
    await numbersOf(connection, 'a', '0', '1')
    expect(await numbersOf(connection, 'a', '1', '2')).toEqual([1, 2])
    expect(await numbersOf(connection, 'a', '0')).toEqual([0])
    await query('delete from node_gpu where id = 1')
    expect(await numbersOf(connection, 'b', '7', '8')).toEqual([1, 3])
  })

  it('are read with node, device, and the name and the UUID as last reported', async () => {
    const { connection } = await aConnection()
    const old = { device: '0', name: 'A100', uuid: 'GPU-1' }
    expect(await numberGpus(connection, named('a'), [old])).toEqual([{ id: 0, ...old }])
    await numberGpus(connection, named('a'), [{ ...old, name: 'H200', uuid: 'GPU-2' }])
    await numberGpus(connection, named('b'), [{ device: '0', name: 'A100' }])
    await numberGpus(connection, named('b'), [{ device: '0' }])
    expect(await readGpuPlaces(connection)).toEqual(
      new Map([
        [0, { node: 'a', home: 'that of a', device: '0', name: 'H200', uuid: 'GPU-2' }],
        [1, { node: 'b', home: 'that of b', device: '0' }],
      ]),
    )
  })

  it('remain when their node names its GPUs by UUID instead of number, and back', async () => {
    const { connection } = await aConnection()
    const uuids = ['GPU-aaaa', 'GPU-bbbb']
    const byNumber = [0, 1].map((id) => ({ id, device: `${id}` }))
    const byUuid = uuids.map((uuid, id) => ({ id, device: uuid, uuid }))
    const listed = byNumber.map((gpu, at) => ({ ...gpu, uuid: uuids[at] ?? '' }))
    const idsOf = async (...given: Rest<Parameters<typeof numberGpus>>) =>
      (await numberGpus(connection, named('b'), ...given)).map(({ id }) => id)
    await numbersOf(connection, 'a', '0', '1')
    expect(await idsOf(byNumber)).toEqual([2, 3])
    expect(await idsOf(byUuid.toReversed())).toEqual([3, 2])
    expect(await idsOf(byNumber, async () => listed)).toEqual([2, 3])
    expect((await readGpuPlaces(connection)).size).toBe(4)
  })

  it('are others for another machine that takes the name of a node, and remain with each of the two', async () => {
    const { connection } = await aConnection()
    const idsAt = async (home: string) =>
      (await numberGpus(connection, named('a', home), devices('0', '1'))).map(({ id }) => id)
    expect(await idsAt('one')).toEqual([0, 1])
    expect(await idsAt('other')).toEqual([2, 3])
    expect(await idsAt('one')).toEqual([0, 1])
    expect(await idsAt('other')).toEqual([2, 3])
  })

  it('pass to the next machine of a name when its node was removed', async () => {
    const { url, connection } = await aConnection()
    const idsAt = async (home: string) =>
      (await numberGpus(connection, named('a', home), devices('0', '1'))).map(({ id }) => id)
    expect(await idsAt('former')).toEqual([0, 1])
    const { membership } = await aMember(url, 'a', { home: 'one' })
    expect(await idsAt('one')).toEqual([2, 3])
    await membership.leave()
    await removeNode(connection, 'a')
    expect(await idsAt('other')).toEqual([2, 3])
    expect(await idsAt('one')).toEqual([4, 5])
  })

  it('are none for a node without GPUs', async () => {
    const { connection } = await aConnection()
    expect(await numberGpus(connection, named('a'), [])).toEqual([])
    expect(await readGpuPlaces(connection)).toEqual(new Map())
  })

  it('are different, without gaps and in the order of devices when 8 nodes number at once', async () => {
    const { url, connection, query } = await aConnection()
    const nodes = Array.from({ length: 8 }, (_, n) => `node-${n}`)
    const connections = await Promise.all(
      nodes.map(async () => (await aClusterDatabase(url)).beats),
    )
    const holder = new Client(url)
    await holder.connect()
    onTestFinished(() => holder.end())
    await holder.query('begin; lock table node_gpu in share mode')
    const numbering = Promise.all(
      connections.map((connection, n) =>
        numbersOf(connection, `node-${n}`, ...firstDevices(n + 1)),
      ),
    )
    // Each has read an empty table before one of them writes.
    const waiting = () =>
      query<{ n: string }>('select count(*) as n from pg_locks where not granted')
    await expect.poll(waiting).toEqual([{ n: '8' }])
    await holder.query('commit')
    const numbered = await numbering
    expect(numbered.flat().toSorted((a, b) => a - b)).toEqual(
      Array.from({ length: 36 }, (_, n) => n),
    )
    for (const [n, ids] of numbered.entries()) {
      expect(ids).toEqual(firstDevices(n + 1).map((device) => (ids[0] ?? 0) + Number(device)))
    }
    expect((await readGpuPlaces(connection)).size).toBe(36)
  })
})
