import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it, vi } from 'vitest'
import type { JobJson } from '../../src/http/views/job-view.ts'
import type { ReloadedTaskJson } from '../../src/http/views/task-view.ts'
import {
  type ClusterNode,
  nodesOf,
  startCluster,
  startClusterNode,
  untilLeads,
  untilPresent,
} from '../support/cluster/service-cluster.ts'
import { aSilentProxy } from '../support/cluster/silent-proxy.ts'
import { aPicture } from '../support/pictures.ts'
import { quick } from '../support/service.ts'
import { missing, takeTerm, usePostgresServer } from '../support/store/postgres-stores.ts'

// Some of them wait until a dead node is noticed.
vi.setConfig({ testTimeout: 120_000 })

const isGenerating = ({ stage }: JobJson) => stage !== null && stage !== 'converting'

describe.skipIf(missing)('a cluster', () => {
  const server = usePostgresServer()

  const three = async (env: NodeJS.ProcessEnv = {}) => {
    const nodes = await startCluster(await server().createDatabase(), 3, env)
    return nodes as [ClusterNode, ClusterNode, ClusterNode]
  }

  const startsOn = (node: ClusterNode) =>
    node.journal().filter(({ event }) => event === 'start').length

  it('runs jobs on the GPUs of all nodes, whichever is asked', async () => {
    const nodes = await three()
    const [a, b, c] = nodes
    expect(await nodesOf(c)).toMatchObject([
      { name: 'a', role: 'leader', state: 'present', gpus: [0] },
      { name: 'b', role: 'follower', state: 'present', gpus: [1] },
      { name: 'c', role: 'follower', state: 'present', gpus: [2] },
    ])
    const ids: string[] = []
    for (let n = 0; n < 6; n++) {
      const at = nodes[n % 3] ?? a
      ids.push(await at.submit({ prompt: `job ${n}`, steps: 20 }))
    }
    for (const id of ids) expect(await b.until(id)).toMatchObject({ status: 'success', attempt: 1 })
    expect(nodes.map(startsOn).reduce((sum, count) => sum + count)).toBe(6)
    expect(Math.min(...nodes.map(startsOn))).toBeGreaterThan(0)
  })

  it('needs neither Wan2.2 nor a model on a leader without GPUs', async () => {
    const url = await server().createDatabase()
    const none = { GPU_IDS: 'none', WAN_DIR: '/nowhere', WAN_CKPT_DIR: '/nowhere' }
    const leader = await startClusterNode(url, 'a', { env: none })
    await untilLeads(leader)
    const worker = await startClusterNode(url, 'b')
    await untilPresent([worker])
    const id = await leader.submit({ prompt: 'a fox' })
    expect(await leader.until(id)).toMatchObject({ status: 'success', node: 'b' })
    expect((await worker.request('/ready')).status).toBe(200)
    expect(leader.log('no job is claimed: the environment fails')).toEqual([])
  })

  it('whose leader is killed goes on with the same attempts, and the killed node joins again', async () => {
    const [a, b, c] = await three()
    const ids: string[] = []
    for (let n = 0; n < 5; n++) ids.push(await b.submit({ prompt: `job ${n}`, steps: 60 }))
    for (const id of ids.slice(0, 3)) await c.until(id, isGenerating)
    await a.stop('SIGKILL')
    await vi.waitFor(async () => expect((await nodesOf(b)).length).toBe(3), { timeout: 15_000 })
    const again = await startClusterNode(String(a.env.DATABASE_URL), 'a', { dataDir: a.dataDir })
    for (const id of ids) expect(await c.until(id)).toMatchObject({ status: 'success', attempt: 1 })
    await untilPresent([again, b, c])
    expect(startsOn(again) + startsOn(b) + startsOn(c)).toBe(5)
  })

  it('gives the job of a lost machine to another one, and no attempt counts', async () => {
    const [a, b, c] = await three()
    const ids: string[] = []
    for (let n = 0; n < 3; n++) ids.push(await a.submit({ prompt: `job ${n}`, steps: 40 }))
    for (const id of ids) await a.until(id, isGenerating)
    await c.powerOff()
    const isLost = async () =>
      expect((await nodesOf(a)).find(({ name }) => name === 'c')?.state).toBe('lost')
    await vi.waitFor(isLost, { timeout: 20_000 })
    for (const id of ids) expect(await b.until(id)).toMatchObject({ status: 'success', attempt: 1 })
    expect(startsOn(a) + startsOn(b)).toBe(3)
  })

  it('ends a job as canceled that was on a removed machine, also after the leader has changed', async () => {
    const [a, b, c] = await three({ SIM_SPEED: '5' })
    for (const node of ['a', 'b']) await a.request(`/nodes/${node}/drain`, { method: 'POST' })
    const id = await b.submit({ prompt: 'on c', steps: 50 })
    await a.until(id, isGenerating)
    await c.powerOff()
    const isLost = async () =>
      expect((await nodesOf(a)).find(({ name }) => name === 'c')?.state).toBe('lost')
    await vi.waitFor(isLost, { timeout: 20_000 })
    expect((await a.request('/nodes/c', { method: 'DELETE' })).status).toBe(200)
    await a.stop()
    await untilLeads(b)
    await vi.waitFor(async () => expect((await b.status(id)).status).toBe('queued'), {
      timeout: 20_000,
    })
    await b.request(`/jobs?ids=${id}`, { method: 'DELETE' })
    expect(await b.status(id)).toMatchObject({ status: 'canceled' })
  })

  it('cancels a job through a node that neither leads nor runs it, with no process left', async () => {
    const [a, b, c] = await three({ SIM_SPEED: '5' })
    const ids: string[] = []
    for (let n = 0; n < 3; n++) ids.push(await a.submit({ prompt: `job ${n}`, steps: 50 }))
    for (const id of ids) await a.until(id, isGenerating)
    const { gpus } = await c.json<{ gpus: { job_id: string; node: string }[] }>('/gpus')
    const onB = gpus.find(({ node }) => node === 'b')?.job_id ?? ''
    const answer = await c.json(`/jobs?ids=${onB}`, { method: 'DELETE' })
    expect(answer).toMatchObject({ canceled: [{ id: onB, status: 'canceled' }], canceling: [] })
    const { pid } = await b.latestStart()
    expect(() => process.kill(pid, 0)).toThrow('ESRCH')
    expect(await b.status(onB)).toMatchObject({ status: 'canceled' })
  })

  it('gives out videos, pictures and logs of every node through every node, and deletes them where they are', async () => {
    const [a, b, c] = await three({ SIM_SPEED: '300' })
    await b.request('/gpus/0/drain', { method: 'POST' })
    await b.request('/gpus/2/drain', { method: 'POST' })
    const id = await c.submit({ prompt: 'on b' })
    const job = await a.until(id)
    expect(job).toMatchObject({ status: 'success', node: 'b' })
    const { file_url: url, thumbnail_url: thumbnail, filename } = job
    const file = readFileSync(join(b.dataDir, 'results', filename ?? ''))
    for (const node of [a, b, c]) {
      const whole = await node.request(url ?? '')
      expect([whole.status, Buffer.from(await whole.arrayBuffer()).equals(file)]).toEqual([
        200,
        true,
      ])
      const part = await node.request(url ?? '', { headers: { Range: 'bytes=4-7' } })
      expect([part.status, await part.text()]).toEqual([206, 'ftyp'])
      const picture = await node.request(thumbnail ?? '')
      expect([picture.status, picture.headers.get('Content-Type')]).toEqual([200, 'image/webp'])
      expect(await (await node.request(`/jobs/${id}/log`)).text()).toContain('generate')
    }
    await c.request(`/videos?ids=${id}`, { method: 'DELETE' })
    expect(existsSync(join(b.dataDir, 'results', filename ?? ''))).toBe(false)
    expect((await a.request(url ?? '')).status).toBe(404)
    expect((await b.request(`/v1/videos/video_${id}`, { method: 'DELETE' })).status).toBe(200)
    const log = join(b.dataDir, 'logs', `${id}.log`)
    // Nobody waits for this letter: it is collected with others.
    await vi.waitFor(() => expect(existsSync(log)).toBe(false), { timeout: 10_000 })
  })

  it('shows the template of every node, and loads all of them again at one request', async () => {
    const nodes = await three({ WARM_START: 'on', MIN_FREE_DISK_MB: '0' })
    const [, b] = nodes
    type Tasks = { tasks: [{ nodes: { node: string; template: { state: string } | null }[] }] }
    const states = async () => {
      const { tasks } = await b.json<Tasks>('/tasks')
      return tasks[0].nodes
        .map(({ node, template }) => `${node} ${template?.state}`)
        .toSorted((one, other) => one.localeCompare(other))
    }
    const ready = ['a ready', 'b ready', 'c ready']
    await vi.waitFor(async () => expect(await states()).toEqual(ready), { timeout: 60_000 })
    const reload = async () => {
      const answer = await b.request('/tasks/ti2v-5B/reload', { method: 'POST' })
      const { reloads } = (await answer.json()) as ReloadedTaskJson
      return reloads.map(({ node, result }) => `${node} ${result}`).toSorted()
    }
    expect(await reload()).toEqual(['a reloaded', 'b reloaded', 'c reloaded'])
    for (const node of nodes) {
      await vi.waitFor(() => expect(node.log('a template is replaced')).toHaveLength(1))
    }
    await vi.waitFor(async () => expect(await states()).toEqual(ready), { timeout: 60_000 })
    await nodes[2].stop()
    const others = ['a reloaded', 'b reloaded', 'c away']
    await vi.waitFor(async () => expect(await reload()).toEqual(others), { timeout: 20_000 })
  })

  it('says of the video of a machine that is off that the machine is, and has it again when it is back', async () => {
    const [a, b, c] = await three({ SIM_SPEED: '300' })
    await a.request('/nodes/a/drain', { method: 'POST' })
    await a.request('/nodes/b/drain', { method: 'POST' })
    const id = await b.submit({ prompt: 'on c' })
    const { file_url: url = '' } = await a.until(id)
    await c.powerOff()
    const away = await b.request(url ?? '')
    expect([away.status, await away.json()]).toMatchObject([503, { code: 'node_away' }])
    const isLost = async () =>
      expect((await nodesOf(a)).find(({ name }) => name === 'c')?.state).toBe('lost')
    await vi.waitFor(isLost, { timeout: 20_000 })
    expect((await b.request(url ?? '')).status).toBe(503)
    expect(await a.status(id)).toMatchObject({ status: 'success' })
    const again = await startClusterNode(String(c.env.DATABASE_URL), 'c', { dataDir: c.dataDir })
    await untilPresent([again])
    expect((await b.request(url ?? '')).status).toBe(200)
  })

  it('ends a job that is canceled on a lost machine as error, and as canceled when an operator removes the machine', async () => {
    const [a, b, c] = await three({ SIM_SPEED: '5' })
    for (const node of ['a', 'b']) await a.request(`/nodes/${node}/drain`, { method: 'POST' })
    const first = await b.submit({ prompt: 'first', steps: 50 })
    await a.until(first, isGenerating)
    expect((await a.request('/nodes/c', { method: 'DELETE' })).status).toBe(409)
    await c.powerOff()
    const isLost = async () =>
      expect((await nodesOf(a)).find(({ name }) => name === 'c')?.state).toBe('lost')
    await vi.waitFor(isLost, { timeout: 20_000 })
    await b.until(first, ({ status }) => status === 'queued')
    await b.request(`/jobs?ids=${first}`, { method: 'DELETE' })
    expect(await b.status(first)).toMatchObject({ status: 'error', error: { code: 'node_lost' } })
    expect((await a.request('/nodes/c', { method: 'DELETE' })).status).toBe(200)
    expect((await nodesOf(b)).map(({ name }) => name)).toEqual(['a', 'b'])
  })

  it('ends a job as canceled when its lost machine is back without the GPU on which the job was', async () => {
    const url = await server().createDatabase()
    const [a] = (await startCluster(url, 1)) as [ClusterNode]
    await a.request('/nodes/a/drain', { method: 'POST' })
    const b = await startClusterNode(url, 'b', { env: { GPU_IDS: '0,1', SIM_SPEED: '5' } })
    await untilPresent([a, b])
    await a.request('/gpus/1/drain', { method: 'POST' })
    const id = await a.submit({ prompt: 'on the second GPU of b', steps: 50 })
    expect(await a.until(id, isGenerating)).toMatchObject({ gpu_id: 2 })
    await b.powerOff()
    await a.until(id, ({ status }) => status === 'queued')
    const again = await startClusterNode(url, 'b', { dataDir: b.dataDir })
    // Its actors announce themselves together, that of the former GPU included.
    await untilPresent([a, again])
    await a.request(`/jobs?ids=${id}`, { method: 'DELETE' })
    expect(await a.status(id)).toMatchObject({ status: 'canceled' })
  })

  it('gives jobs to a machine that was started again once, removed, and is started again', async () => {
    const url = await server().createDatabase()
    const [a, b] = (await startCluster(url, 2)) as [ClusterNode, ClusterNode]
    const { dataDir } = b
    await b.stop()
    const restarted = await startClusterNode(url, 'b', { dataDir })
    await untilPresent([a, restarted])
    await restarted.stop()
    const remove = async () =>
      expect((await a.request('/nodes/b', { method: 'DELETE' })).status).toBe(200)
    await vi.waitFor(remove, { timeout: 10_000 })
    const again = await startClusterNode(url, 'b', { dataDir })
    await untilPresent([a, again])
    await a.request('/nodes/a/drain', { method: 'POST' })
    const id = await a.submit({ prompt: 'on b' })
    expect(await a.until(id)).toMatchObject({ status: 'success', node: 'b' })
  })

  it('brings an image that one node took to the node that runs the job', async () => {
    const nodes = await three()
    const [a, b, c] = nodes
    for (const node of ['a', 'b']) await a.request(`/nodes/${node}/drain`, { method: 'POST' })
    const form = new FormData()
    form.set('prompt', 'with an image')
    for (const [key, value] of Object.entries(quick)) form.set(key, String(value))
    const picture = readFileSync(aPicture(b.dataDir, 'x.png'))
    form.set('image', new Blob([picture]), 'x.png')
    const response = await b.request('/generate', { method: 'POST', body: form })
    const { id } = (await response.json()) as { id: string }
    expect(response.status).toBe(202)
    expect(await b.until(id)).toMatchObject({ status: 'success', node: 'c' })
    expect(startsOn(c)).toBe(1)
    for (const { dataDir } of nodes) {
      // The leader collects such letters for a while.
      const isTidy = () => expect(readdirSync(join(dataDir, 'work'))).toEqual([])
      await vi.waitFor(isTidy, { timeout: 10_000 })
    }
  })

  it('lets a node that is stopped with SHUTDOWN=drain end its job and take no other, and does not have it removed meanwhile', async () => {
    const nodes = await startCluster(await server().createDatabase(), 2, { SHUTDOWN: 'drain' })
    const [a, b] = nodes as [ClusterNode, ClusterNode]
    const ids: string[] = []
    for (let n = 0; n < 6; n++) ids.push(await a.submit({ prompt: `job ${n}`, steps: 40 }))
    for (const id of ids.slice(0, 2)) await a.until(id, isGenerating)
    const stopped = b.stop()
    const gpuOfB = async () => {
      const { gpus } = await a.json<{ gpus: { node: string; state: string }[] }>('/gpus')
      return gpus.find(({ node }) => node === 'b')?.state
    }
    await expect.poll(gpuOfB, { timeout: 10_000 }).toBe('down')
    const refused = await a.request('/nodes/b', { method: 'DELETE' })
    expect([refused.status, await refused.json()]).toMatchObject([409, { code: 'node_present' }])
    expect(await stopped).toBe(0)
    expect(startsOn(b)).toBe(1)
    const ended = await Promise.all(ids.slice(0, 2).map((id) => a.until(id)))
    expect(ended.map(({ node }) => node).toSorted()).toEqual(['a', 'b'])
    for (const id of ids) expect(await a.until(id)).toMatchObject({ status: 'success', attempt: 1 })
    expect(startsOn(a)).toBe(5)
  })

  it('has another leader at once when the one that leads is stopped', async () => {
    const [a, b, c] = await three()
    const id = await b.submit({ prompt: 'goes on', steps: 60 })
    await b.until(id, isGenerating)
    expect(await a.stop()).toBe(0)
    await vi.waitFor(
      async () => {
        const nodes = await nodesOf(c)
        expect(nodes.find(({ name }) => name === 'a')?.state).toBe('left')
      },
      { timeout: 10_000 },
    )
    const again = await startClusterNode(String(a.env.DATABASE_URL), 'a', { dataDir: a.dataDir })
    expect(await c.until(id)).toMatchObject({ status: 'success', attempt: 1 })
    await untilPresent([again, b, c])
  })

  it('refuses no request through a follower while the leader stops', async () => {
    const [a, b, c] = await three()
    const statuses: number[] = []
    let isOver = false
    const ask = async (node: ClusterNode) => {
      while (!isOver) {
        statuses.push((await node.request('/jobs')).status)
        statuses.push((await node.post({ ...quick, prompt: 'in between' })).status)
      }
    }
    const asking = [b, b, c, c].map(ask)
    const more = async () => {
      const before = statuses.length
      await vi.waitFor(() => expect(statuses.length).toBeGreaterThan(before + 8), {
        timeout: 20_000,
      })
    }
    await more()
    await a.stop()
    await more()
    isOver = true
    await Promise.all(asking)
    expect(new Set(statuses)).toEqual(new Set([200, 202]))
  })

  it('ends with status 0 when it is stopped while it leads and stores jobs', async () => {
    const [a, b] = await three()
    let isOver = false
    const submit = async (n: number) => {
      while (!isOver) await a.post({ ...quick, prompt: `job ${n}` }).catch(() => {})
    }
    const submits = Array.from({ length: 16 }, (_, n) => submit(n))
    await vi.waitFor(() => expect(a.log('job status').length).toBeGreaterThan(20), {
      timeout: 20_000,
    })
    const status = await a.stop()
    isOver = true
    await Promise.all(submits)
    expect(status).toBe(0)
    await vi.waitFor(async () => expect((await nodesOf(b)).length).toBe(3), { timeout: 15_000 })
  })

  it('ends a leader that was deposed, and its generations go on', async () => {
    const url = await server().createDatabase()
    const a = await startClusterNode(url, 'a')
    await untilLeads(a)
    await untilPresent([a])
    const id = await a.submit({ prompt: 'goes on', steps: 50 })
    await a.until(id, isGenerating)
    const ended = once(a.child, 'exit')
    await takeTerm(url)
    expect(await ended).toEqual([1, null])
    const again = await startClusterNode(url, 'a', { dataDir: a.dataDir })
    expect(await again.until(id)).toMatchObject({ status: 'success', attempt: 1 })
  })

  it('has another leader when the one that leads beats, but cannot open connections to PostgreSQL', async () => {
    const url = await server().createDatabase()
    const proxy = await aSilentProxy(url)
    const a = await startClusterNode(proxy.url, 'a')
    await untilLeads(a)
    const b = await startClusterNode(url, 'b')
    await untilPresent([a, b])
    const ended = once(a.child, 'exit')
    proxy.refuseNew()
    expect(await ended).toEqual([1, null])
    expect(a.log('this node leaves the cluster')).toMatchObject([
      { reason: expect.stringContaining('cannot open connections') },
    ])
    await untilLeads(b)
    const id = await b.submit({ prompt: 'after it' })
    expect(await b.until(id)).toMatchObject({ status: 'success', node: 'b' })
  })
})
