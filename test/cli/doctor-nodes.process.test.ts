/** `wanctl doctor` on a machine of a cluster. */
import { describe, expect, it, vi } from 'vitest'
import { freePort } from '../../bench/performance/free-port.ts'
import { wanctl } from '../support/cli.ts'
import { type ClusterNode, nodesOf, startClusterNode } from '../support/cluster/service-cluster.ts'
import { missing, usePostgresServer } from '../support/store/postgres-stores.ts'

vi.setConfig({ testTimeout: 120_000 })

describe.skipIf(missing)('wanctl doctor in a cluster', () => {
  const server = usePostgresServer()

  const nodesCheck = async (node: ClusterNode, DATABASE_URL: string) => {
    const PORT = new URL(node.url).port
    const NODE_URL = `http://127.0.0.1:${PORT}`
    const env = { DATABASE_URL, PORT, NODE_URL, HOST: '127.0.0.1' }
    const { stdout } = await wanctl(['doctor', '--json'], { env })
    const { checks } = JSON.parse(stdout) as { checks: { name: string }[] }
    return checks.filter(({ name }) => name === 'nodes')
  }

  it('names a node that this machine cannot reach, and what to correct', async () => {
    const url = await server().createDatabase()
    const a = await startClusterNode(url, 'a')
    const reached = { name: 'nodes', verdict: 'ok', detail: 'reached: a' }
    expect(await nodesCheck(a, url)).toEqual([reached])

    const NODE_URL = `http://127.0.0.1:${await freePort()}`
    await startClusterNode(url, 'b', { env: { NODE_URL, GPU_IDS: 'none' } })
    await expect.poll(async () => (await nodesOf(a)).length).toBe(2)
    expect(await nodesCheck(a, url)).toMatchObject([
      {
        verdict: 'fault',
        detail: expect.stringMatching(
          `the node "b" cannot be reached at ${NODE_URL}/? .*ECONNREFUSED.*Correct NODE_URL on "b"`,
        ),
      },
    ])
  })
})
