/** Files of nodes that have directories of their own. */
import { copyFileSync, existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it, vi } from 'vitest'
import type { JobId } from '../../src/domain/job.ts'
import {
  type ClusterNode,
  nodesOf,
  startCluster,
  startClusterNode,
  untilPresent,
} from '../support/cluster/service-cluster.ts'
import { aFileOf } from '../support/mp4.ts'
import { quick } from '../support/service.ts'
import { missing, usePostgresServer } from '../support/store/postgres-stores.ts'

vi.setConfig({ testTimeout: 120_000 })

describe.skipIf(missing)('files of a cluster', () => {
  const server = usePostgresServer()

  const two = async (env: NodeJS.ProcessEnv = { SIM_SPEED: '300' }) => {
    const nodes = await startCluster(await server().createDatabase(), 2, env)
    return nodes as [ClusterNode, ClusterNode]
  }

  const command = (node: ClusterNode, path: string) => node.request(path, { method: 'POST' })

  const untilLost = (name: string, seenBy: ClusterNode) =>
    vi.waitFor(
      async () => {
        const found = (await nodesOf(seenBy)).find((node) => node.name === name)
        expect(found?.state).toBe('lost')
      },
      { timeout: 20_000 },
    )

  const fileOn = (node: ClusterNode, filename: string | null) =>
    join(node.dataDir, 'results', filename ?? '')

  it('do not count while their node is away, so that nothing else is deleted in their place', async () => {
    const [a, b] = await two()
    const purge = (maxBytes: number) =>
      a.json<object>('/admin/purge', {
        method: 'POST',
        headers: { 'Content-Type': 'application/json' },
        body: JSON.stringify({ dry_run: false, max_bytes: maxBytes }),
      })
    await command(a, '/nodes/a/drain')
    const older = await a.until(await a.submit({ prompt: 'on b' }))
    expect(older).toMatchObject({ status: 'success', node: 'b' })
    await command(a, '/nodes/a/resume')
    await b.powerOff()
    await untilLost('b', a)
    const younger = await a.until(await a.submit({ prompt: 'on a' }))
    expect(younger).toMatchObject({ status: 'success', node: 'a' })
    const room = (younger.file?.bytes ?? 0) + 1
    expect(await purge(room)).toMatchObject({ jobs: 0, kept: 0, complete: true })
    const again = await startClusterNode(String(b.env.DATABASE_URL), 'b', { dataDir: b.dataDir })
    await untilPresent([a, again])
    expect(await purge(room)).toMatchObject({ jobs: 1, kept: 0, complete: true })
    expect(existsSync(fileOn(b, older.filename))).toBe(false)
    expect(existsSync(fileOn(a, younger.filename))).toBe(true)
  })

  it('include the log of a job that waits again, or was canceled then, which the node of its latest attempt sends', async () => {
    const [a, b] = await two()
    await command(a, '/nodes/a/drain')
    const id = await a.submit({ prompt: 'on b [sim:step=1000]', steps: 50 })
    await a.until(id, ({ stage }) => stage === 'denoising')
    await command(a, '/nodes/b/drain')
    const { gpus } = await a.json<{ gpus: { id: number; node: string }[] }>('/gpus')
    const gpu = gpus.find(({ node }) => node === 'b')?.id
    await a.request(`/gpus/${gpu}/restart`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ job: 'requeue' }),
    })
    await a.until(id, ({ status }) => status === 'queued')
    const log = () => readFileSync(join(b.dataDir, 'logs', `${id}.log`), 'utf8')
    const sent = async (node: ClusterNode) => (await node.request(`/jobs/${id}/log`)).text()
    expect(log()).toContain('Generating video')
    for (const node of [a, b]) expect(await sent(node)).toBe(log())
    await a.request(`/jobs?ids=${id}`, { method: 'DELETE' })
    expect(await a.status(id)).toMatchObject({ status: 'canceled' })
    expect(await sent(a)).toBe(log())
    await b.powerOff()
    await untilLost('b', a)
    const away = await a.request(`/jobs/${id}/log`)
    expect([away.status, await away.json()]).toMatchObject([503, { code: 'node_away' }])
  })

  it('of attempts that were not recorded are removed when their node is back, and no other file', async () => {
    const [a, b] = await two({ SIM_SPEED: '100' })
    await command(a, '/nodes/a/drain')
    const id = await a.submit({ prompt: 'a fox', filename: 'fox.mp4', steps: 200 })
    await a.until(id, ({ stage }) => stage !== null && stage !== 'converting')
    await b.powerOff()
    await untilLost('b', a)
    await command(a, '/nodes/a/resume')
    expect(await a.until(id)).toMatchObject({ status: 'success', node: 'a' })
    // As if b had died between the name of the file and the record.
    writeFileSync(fileOn(b, 'fox.mp4'), aFileOf(id as JobId, 1_000, 1))
    copyFileSync(fileOn(a, 'fox.mp4'), fileOn(b, 'a copy of fox.mp4'))
    writeFileSync(fileOn(b, 'after a backup.mp4'), aFileOf(id as JobId, 1_000, 9))
    writeFileSync(fileOn(b, 'of an unknown job.mp4'), aFileOf(crypto.randomUUID() as JobId))
    writeFileSync(fileOn(b, 'film.mp4'), 'film')
    const again = await startClusterNode(String(b.env.DATABASE_URL), 'b', { dataDir: b.dataDir })
    await expect
      .poll(() => again.log('videos that were not recorded were removed'), { timeout: 20_000 })
      .toMatchObject([{ removed: ['fox.mp4'] }])
    expect(readdirSync(join(b.dataDir, 'results')).toSorted()).toEqual([
      'a copy of fox.mp4',
      'after a backup.mp4',
      'film.mp4',
      'of an unknown job.mp4',
    ])
    expect(existsSync(fileOn(a, 'fox.mp4'))).toBe(true)
  })

  it('are not overwritten where somebody has put them: on the leader the name is taken, elsewhere the job fails', async () => {
    const [a, b] = await two()
    await command(a, '/nodes/a/drain')
    for (const node of [a, b]) writeFileSync(fileOn(node, `on ${node.name}.mp4`), 'film')
    const refused = await a.request('/generate', {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ ...quick, prompt: 'a fox', filename: 'on a.mp4' }),
    })
    expect([refused.status, await refused.json()]).toMatchObject([409, { code: 'filename_taken' }])
    const id = await a.submit({ prompt: 'a fox', filename: 'on b.mp4' })
    const message = expect.stringContaining('on b.mp4 appeared in RESULTS_DIR')
    expect(await a.until(id)).toMatchObject({
      status: 'error',
      error: { code: 'conversion_failed', message },
    })
    expect(readFileSync(fileOn(b, 'on b.mp4'), 'utf8')).toBe('film')
  })
})
