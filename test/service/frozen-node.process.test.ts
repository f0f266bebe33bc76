/** A whole service that stands still at a point of its work, and goes on later. */
import { readFileSync } from 'node:fs'
import { Client } from 'pg'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import type { GpuJson } from '../../src/http/views/gpu-view.ts'
import {
  type ClusterNode,
  nodesOf,
  startCluster,
  startClusterNode,
} from '../support/cluster/service-cluster.ts'
import { crashUntilGivenUp } from '../support/crashes.ts'
import { canFreeze, freeze } from '../support/freezer.ts'
import { aPicture } from '../support/pictures.ts'
import { processesOf, quick } from '../support/service.ts'
import { missing, usePostgresServer } from '../support/store/postgres-stores.ts'

vi.setConfig({ testTimeout: 120_000 })

describe.skipIf(missing)(
  'a node that stands still between the claim of a job and its start',
  () => {
    const server = usePostgresServer()

    it('does not start the job when it goes on and the job runs elsewhere since', async () => {
      const url = await server().createDatabase()
      const [a, b] = (await startCluster(url, 2)) as [ClusterNode, ClusterNode]
      const command = (path: string) => a.request(path, { method: 'POST' })
      for (const node of ['a', 'b']) await command(`/nodes/${node}/drain`)
      const id = await submitWithImage(a, 'a fox [sim:step=1000]')
      const images = await lockImages(url)

      await command('/nodes/b/resume')
      await a.until(id, ({ node }) => node === 'b')
      await images.untilAwaited()
      b.child.kill('SIGSTOP')
      await images.release()
      await command('/nodes/a/resume')
      const runsOnA = await a.until(id, ({ node, stage }) => node === 'a' && stage === 'denoising')
      expect(runsOnA).toMatchObject({ status: 'running', attempt: 1 })

      b.child.kill('SIGCONT')
      await untilIdle(b, a)
      expect(b.log('generation ended')).toEqual([])
      expect(await a.status(id)).toMatchObject({ status: 'running', node: 'a' })
    })
  },
)

describe.skipIf(missing || !canFreeze)(
  'a node that returns with a generation it cannot end',
  () => {
    const server = usePostgresServer()

    it.each(['stood still', 'was killed'])('gives its GPU no job after it %s', async (how) => {
      const url = await server().createDatabase()
      const [a, b] = (await startCluster(url, 2)) as [ClusterNode, ClusterNode]
      await a.request('/nodes/a/drain', { method: 'POST' })
      const id = await a.submit({ ...quick, prompt: 'a fox [sim:step=1000]' })
      const { pid } = await b.latestStart()
      freeze(pid)
      b.child.kill(how === 'was killed' ? 'SIGKILL' : 'SIGSTOP')
      await a.request('/nodes/a/resume', { method: 'POST' })
      await a.until(id, ({ node, stage }) => node === 'a' && stage === 'denoising')

      if (how === 'stood still') b.child.kill('SIGCONT')
      else await startClusterNode(url, 'b', { dataDir: b.dataDir })
      await vi.waitFor(
        async () => {
          const { gpus } = await a.json<{ gpus: GpuJson[] }>('/gpus')
          const { state, quarantine } = gpus.find(({ node }) => node === 'b') as GpuJson
          expect({ state, reason: quarantine?.reason }).toEqual({
            state: 'quarantined',
            reason: 'unkillable',
          })
        },
        { timeout: 40_000 },
      )
      const waiting = await a.submit({ ...quick, prompt: 'a hen' })
      await a.request(`/jobs?ids=${id}`, { method: 'DELETE' })
      expect(await a.until(waiting, ({ status }) => status === 'success')).toMatchObject({
        node: 'a',
      })
      expect(await a.status(id)).toMatchObject({ status: 'error', error: { code: 'unkillable' } })
    })
  },
)

describe.skipIf(missing)('a node that returns with a generation whose GPU has no actor', () => {
  const server = usePostgresServer()

  it('ends it, so that nothing runs beside the next job of that GPU', async () => {
    const url = await server().createDatabase()
    const nodes = await startCluster(url, 2, { FAULT_INJECTION: '1' })
    const [a, b] = nodes as [ClusterNode, ClusterNode]
    await a.request('/nodes/a/drain', { method: 'POST' })
    const id = await a.submit({ ...quick, prompt: 'a fox [sim:step=60]', steps: 90 })
    const { gpu_id: gpu } = await a.until(id, ({ stage }) => stage === 'denoising')
    await crashUntilGivenUp(b, [gpu as number])
    const unwatched = await a.status(id)
    await a.until(id, ({ step }) => (step ?? 0) > (unwatched.step ?? 0))
    b.child.kill('SIGSTOP')
    await a.until(id, ({ status }) => status === 'queued')
    const leftOnB = () => processesOf(`${b.dataDir}/work/${id}`)
    expect(leftOnB()).not.toEqual([])

    b.child.kill('SIGCONT')
    await expect.poll(leftOnB, { timeout: 30_000 }).toEqual([])
    await a.request('/nodes/a/resume', { method: 'POST' })
    await a.until(id, ({ node, stage }) => node === 'a' && stage === 'denoising')
  })
})

async function submitWithImage(node: ClusterNode, prompt: string): Promise<string> {
  const form = new FormData()
  for (const [key, value] of Object.entries({ ...quick, prompt })) form.set(key, String(value))
  form.set('image', new Blob([readFileSync(aPicture(node.dataDir, 'x.png'))]), 'x.png')
  const response = await node.request('/generate', { method: 'POST', body: form })
  expect(response.status).toBe(202)
  return ((await response.json()) as { id: string }).id
}

/** A breakpoint: nodes wait for the image of a job, which they read after the claim and before the start. */
async function lockImages(url: string) {
  const client = new Client({ connectionString: url })
  client.on('error', () => {})
  onTestFinished(() => client.end())
  await client.connect()
  await client.query('begin')
  await client.query('lock table image in access exclusive mode')
  return {
    async untilAwaited() {
      const waiting = `select 1 from pg_locks where relation = 'image'::regclass and not granted`
      await vi.waitFor(async () => expect((await client.query(waiting)).rows).toHaveLength(1), {
        timeout: 20_000,
      })
    },
    release: () => client.query('commit'),
  }
}

/** Resolves when the node has joined again and its GPU has no work. */
async function untilIdle(node: ClusterNode, seenBy: ClusterNode): Promise<void> {
  type Gpus = { gpus: { node: string; state: string }[] }
  await vi.waitFor(
    async () => {
      const { gpus } = await seenBy.json<Gpus>('/gpus')
      expect(gpus.find((gpu) => gpu.node === node.name)?.state).toBe('idle')
      const found = (await nodesOf(seenBy)).find(({ name }) => name === node.name)
      expect(found?.state).toBe('present')
    },
    { timeout: 30_000 },
  )
}
