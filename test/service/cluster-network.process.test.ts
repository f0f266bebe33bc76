import { once } from 'node:events'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { type PostgresServer, startPostgresServer } from '../../bench/postgres.ts'
import type { JobJson } from '../../src/http/views/job-view.ts'
import {
  createNetwork,
  type Machine,
  type Network,
  networkMissing,
} from '../support/cluster/network.ts'
import {
  type ClusterNode,
  leaderOf,
  nodesOf,
  startClusterNode,
  untilLeads,
  untilPresent,
} from '../support/cluster/service-cluster.ts'
import { processesOf } from '../support/service.ts'
import { missing } from '../support/store/postgres-stores.ts'

// They wait until nodes with dead links are noticed, and until connections over these are given up.
vi.setConfig({ testTimeout: 180_000 })

const hasStarted = ({ status }: JobJson) => status !== 'queued'
const isGenerating = ({ stage }: JobJson) => stage !== null && stage !== 'converting'

describe.skipIf(missing ?? networkMissing)(
  'a cluster of machines with addresses of their own',
  () => {
    let network: Network
    let server: PostgresServer
    beforeAll(async () => {
      network = await createNetwork(3)
      server = await startPostgresServer({
        isDurable: false,
        reach: { address: network.address, network: network.subnet },
      })
    })
    afterAll(async () => {
      await server[Symbol.asyncDispose]()
      network.close()
    })

    const start = (url: string, name: string, machine: Machine, dataDir?: string) =>
      startClusterNode(url, name, {
        env: {
          HOST: machine.address,
          PORT: '8080',
          NODE_URL: `http://${machine.address}:8080`,
          API_TOKENS: '',
        },
        within: machine.within,
        ...(dataDir !== undefined && { dataDir }),
      })

    const three = async () => {
      const url = new URL(await server.createDatabase())
      url.hostname = network.address
      const nodes: ClusterNode[] = []
      for (const [index, machine] of network.machines.entries()) {
        const node = await start(url.href, 'abc'.charAt(index), machine)
        nodes.push(node)
        if (index === 0) await untilLeads(node)
      }
      await untilPresent(nodes)
      return nodes as [ClusterNode, ClusterNode, ClusterNode]
    }

    const machineOf = (node: ClusterNode): Machine => {
      const machine = network.machines.find(({ address }) => node.url.includes(address))
      if (!machine) throw new Error(`${node.url} is at no machine`)
      return machine
    }

    const stateOf = async (node: ClusterNode, name: string) =>
      (await nodesOf(node)).find((one) => one.name === name)?.state

    const untilState = (node: ClusterNode, name: string, state: string) =>
      vi.waitFor(async () => expect(await stateOf(node, name)).toBe(state), { timeout: 30_000 })

    /** A video that is on this node. */
    const aVideoOn = async (nodes: readonly ClusterNode[], node: ClusterNode): Promise<string> => {
      const others = nodes.filter((other) => other !== node)
      for (const { name } of others) await node.request(`/nodes/${name}/drain`, { method: 'POST' })
      const job = await node.until(await node.submit({ prompt: `on ${node.name}` }))
      expect(job.node).toBe(node.name)
      for (const { name } of others) await node.request(`/nodes/${name}/resume`, { method: 'POST' })
      return job.file_url ?? ''
    }

    const statusOf = async (node: ClusterNode, path: string): Promise<number> => {
      const response = await node.request(path)
      await response.arrayBuffer()
      return response.status
    }

    it('forwards requests, runs jobs on all of them and sends videos from each through each', async () => {
      const nodes = await three()
      const [a, b, c] = nodes
      expect(await nodesOf(c)).toMatchObject(
        nodes.map(({ name }, index) => ({
          name,
          url: `http://${network.machines[index]?.address}:8080`,
          state: 'present',
        })),
      )
      const ids: string[] = []
      for (let n = 0; n < 6; n++) ids.push(await c.submit({ prompt: `job ${n}`, steps: 20 }))
      const jobs: JobJson[] = []
      for (const id of ids) jobs.push(await b.until(id))
      expect(new Set(jobs.map(({ node }) => node))).toEqual(new Set(['a', 'b', 'c']))
      for (const { file_url: url } of jobs) {
        for (const node of [a, b, c]) expect(await statusOf(node, url ?? '')).toBe(200)
      }
    })

    it('runs the job of a machine with a dead link elsewhere, and has its videos again when the link is back', async () => {
      const nodes = await three()
      const [a, b, c] = nodes
      const video = await aVideoOn(nodes, c)
      const ids: string[] = []
      for (let n = 0; n < 3; n++) ids.push(await a.submit({ prompt: `job ${n}`, steps: 150 }))
      for (const id of ids) await a.until(id, hasStarted)
      const onC =
        ids[
          (await Promise.all(ids.map((id) => a.status(id)))).findIndex(({ node }) => node === 'c')
        ]

      network.unplug(machineOf(c))
      await untilState(a, 'c', 'lost')
      const away = await b.request(video)
      expect([away.status, await away.json()]).toMatchObject([503, { code: 'node_away' }])
      const isElsewhere = (job: JobJson) => job.node !== 'c' && isGenerating(job)
      await a.until(onC ?? '', isElsewhere)

      network.plugIn(machineOf(c))
      await untilState(b, 'c', 'present')
      expect(await statusOf(b, video)).toBe(200)
      for (const id of ids)
        expect(await b.until(id)).toMatchObject({ status: 'success', attempt: 1 })
      expect(await a.status(onC ?? '')).not.toMatchObject({ node: 'c' })
      await vi.waitUntil(() => processesOf(`${c.dataDir}/work/${onC}`).length === 0)
      expect(await aVideoOn(nodes, c)).not.toBe(video)
    })

    it('whose leader has a dead link elects another one, and the former leader joins again when the link is back', async () => {
      const nodes = await three()
      const [a, b, c] = nodes
      const ids: string[] = []
      for (let n = 0; n < 4; n++) ids.push(await b.submit({ prompt: `job ${n}`, steps: 100 }))
      for (const id of ids.slice(0, 3)) await b.until(id, hasStarted)

      network.unplug(machineOf(a))
      const leader = await leaderOf([b, c])
      expect(leader).not.toBe(a)
      await untilState(c, 'a', 'lost')
      const ended = once(a.child, 'exit')
      network.plugIn(machineOf(a))
      // A service manager starts it again.
      expect((await ended)[0]).toBe(1)
      const again = await start(String(a.env.DATABASE_URL), 'a', machineOf(a), a.dataDir)
      for (const id of ids)
        expect(await again.until(id)).toMatchObject({ status: 'success', attempt: 1 })
      await untilPresent([again, b, c])
    })

    it('runs jobs on a machine whose packets to the leader are lost, which forwards requests again afterwards', async () => {
      const [a, b, c] = await three()
      expect(await statusOf(c, '/jobs')).toBe(200)
      network.separate(machineOf(a), machineOf(c))
      // On the connection of the request before.
      const lost = await c.request('/jobs', { signal: AbortSignal.timeout(60_000) })
      expect([lost.status, await lost.json()]).toMatchObject([503, { code: 'leader_lost' }])
      const refused = await c.request('/jobs')
      expect([refused.status, await refused.json()]).toMatchObject([503, { code: 'no_leader' }])
      const ids: string[] = []
      for (let n = 0; n < 4; n++) ids.push(await b.submit({ prompt: `job ${n}`, steps: 20 }))
      const jobs: JobJson[] = []
      for (const id of ids) jobs.push(await b.until(id))
      const onC = jobs.find(({ node }) => node === 'c')?.file_url
      expect(onC).toBeDefined()

      network.join(machineOf(a), machineOf(c))
      await vi.waitFor(async () => expect(await statusOf(c, '/jobs')).toBe(200), {
        timeout: 60_000,
      })
      expect(await statusOf(a, onC ?? '')).toBe(200)
    })
  },
)
