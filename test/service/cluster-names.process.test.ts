/** Another machine takes the name of a node: it does not know the processes and files of the former one. */
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import {
  type ClusterNode,
  nodesOf,
  startCluster,
  startClusterNode,
  untilPresent,
} from '../support/cluster/service-cluster.ts'
import { killLeftovers } from '../support/service.ts'
import { isAlive } from '../support/shim-attempt.ts'
import { missing, usePostgresServer } from '../support/store/postgres-stores.ts'

const why = missing ? `: ${missing}` : ''
const slow = { SIM_SPEED: '5' }

describe.skipIf(missing)(`a machine with the name of a former one of a cluster${why}`, () => {
  const server = usePostgresServer()

  /** Two nodes. The GPU of the second one, number 1, gets all jobs. */
  async function two(): Promise<readonly [ClusterNode, ClusterNode]> {
    const [a, b] = (await startCluster(await server().createDatabase(), 2, slow)) as [
      ClusterNode,
      ClusterNode,
    ]
    await a.request('/nodes/a/drain', { method: 'POST' })
    onTestFinished(() => killLeftovers(b.dataDir))
    return [a, b]
  }
  const replace = (b: ClusterNode) =>
    startClusterNode(String(b.env.DATABASE_URL), 'b', { env: slow })
  const gpusOf = async (node: ClusterNode, name: string) =>
    (await nodesOf(node)).find((one) => one.name === name)?.gpus

  it('does not vouch for a job of the former one, which ends as node_lost when it is canceled', async () => {
    const [a, b] = await two()
    const id = await a.submit({ prompt: 'goes on [sim:hang-step]' })
    await a.until(id, ({ step }) => (step ?? 0) > 0)
    await a.request('/nodes/b/drain', { method: 'POST' })
    const { pid } = await b.latestStart()
    await b.stop('SIGKILL')
    const other = await replace(b)
    await untilPresent([a, other])
    await a.until(id, ({ status }) => status === 'queued')
    expect(await gpusOf(a, 'b')).toEqual([2])
    await a.request(`/jobs?ids=${id}`, { method: 'DELETE' })
    expect(await a.status(id)).toMatchObject({ status: 'error', error: { code: 'node_lost' } })
    expect(isAlive(pid)).toBe(true)
  })

  it('gives a job back that runs on the former one, and does not call its videos lost', async () => {
    const [a, b] = await two()
    const video = await a.submit({ prompt: 'a video' })
    const { file_url: url } = await a.until(video)
    const id = await a.submit({ prompt: 'goes on [sim:hang-step]' })
    await a.until(id, ({ step }) => (step ?? 0) > 0)
    await a.request('/nodes/b/drain', { method: 'POST' })
    await b.stop()
    const other = await replace(b)
    await untilPresent([a, other])
    await a.until(id, ({ status }) => status === 'queued')
    await a.request('/nodes/b/resume', { method: 'POST' })
    expect(await a.until(id, ({ status }) => status === 'running')).toMatchObject({ gpu_id: 2 })
    expect((await a.request(url ?? '')).status).toBe(503)
    expect(await a.status(video)).toMatchObject({ status: 'success' })
  })

  it('leaves the numbers of its GPUs to the former one, which takes its name back', async () => {
    const [a, b] = await two()
    await b.stop()
    const other = await replace(b)
    await untilPresent([a, other])
    await other.stop()
    const again = await startClusterNode(String(b.env.DATABASE_URL), 'b', {
      ...{ env: slow, dataDir: b.dataDir },
    })
    await untilPresent([a, again])
    await vi.waitFor(async () => expect(await gpusOf(a, 'b')).toEqual([1]))
  })
})
