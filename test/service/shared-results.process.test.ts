import { execFileSync } from 'node:child_process'
import { chmodSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it, vi } from 'vitest'
import type { JobJson } from '../../src/http/views/job-view.ts'
import { wanctl } from '../support/cli.ts'
import {
  type ClusterNode,
  nodesOf,
  startCluster,
  startClusterNode,
  untilLeads,
  untilPresent,
} from '../support/cluster/service-cluster.ts'
import { aSilentProxy } from '../support/cluster/silent-proxy.ts'
import { aDataDirectory, serviceEnvironment } from '../support/service.ts'
import { missing, usePostgresServer } from '../support/store/postgres-stores.ts'

vi.setConfig({ testTimeout: 120_000 })

const isConverting = ({ stage }: JobJson) => stage === 'converting'

/** An ffmpeg whose conversions end only after `release`. */
function aHeldFfmpeg() {
  const directory = aDataDirectory()
  const [bin, hold] = [join(directory, 'bin'), join(directory, 'hold')]
  const real = execFileSync('which', ['ffmpeg']).toString().trim()
  mkdirSync(bin)
  writeFileSync(hold, '')
  const script = `#!/bin/sh
    case "$*" in *-movflags*) ;; *) exec ${real} "$@" ;; esac
    ${real} "$@" || exit
    while [ -e ${hold} ]; do sleep 0.05; done`
  writeFileSync(join(bin, 'ffmpeg'), script)
  chmodSync(join(bin, 'ffmpeg'), 0o755)
  return { PATH: `${bin}:${process.env.PATH}`, release: () => rmSync(hold) }
}

describe.skipIf(missing)('nodes that share a directory of results', () => {
  const server = usePostgresServer()

  const aSharedDirectory = () => {
    const RESULTS_DIR = join(aDataDirectory(), 'shared')
    mkdirSync(RESULTS_DIR)
    return {
      env: { RESULTS_DIR, RESULTS_SHARED: '1', SIM_SPEED: '300', MAX_CONVERSIONS: '2' },
      videos: () => readdirSync(RESULTS_DIR).filter((name) => !name.startsWith('.')),
      unfinished: () => readdirSync(RESULTS_DIR).filter((name) => name.includes('.unfinished.')),
      at: (name: string) => join(RESULTS_DIR, name),
    }
  }

  it('send and delete each other’s videos, also of nodes that are away or removed, and leave unfinished ones alone', async () => {
    const url = await server().createDatabase()
    const { env, videos, unfinished, at } = aSharedDirectory()
    const [a, b] = (await startCluster(url, 2, env)) as [ClusterNode, ClusterNode]
    const { PATH, release } = aHeldFfmpeg()
    const c = await startClusterNode(url, 'c', { env: { ...env, PATH } })
    await untilPresent([a, b, c])
    for (const node of ['a', 'b']) await a.request(`/nodes/${node}/drain`, { method: 'POST' })
    const ids = [await b.submit({ prompt: 'on c' }), await b.submit({ prompt: 'on c too' })]
    const [id = '', other = ''] = ids
    for (const one of ids) await a.until(one, isConverting)
    await vi.waitFor(() => expect(unfinished()).toHaveLength(2), { timeout: 20_000 })

    await b.stop('SIGKILL')
    const again = await startClusterNode(url, 'b', { dataDir: b.dataDir, env })
    await untilPresent([again])
    expect(unfinished()).toHaveLength(2)
    release()
    for (const one of ids) expect(await a.until(one)).toMatchObject({ node: 'c', attempt: 1 })
    const { file_url: file, thumbnail_url: thumbnail, filename } = await a.until(id)
    const content = readFileSync(at(filename ?? ''))
    expect([videos().length, unfinished()]).toEqual([2, []])

    await c.powerOff()
    const requireVideo = async () => {
      for (const node of [a, again]) {
        const whole = await node.request(file ?? '')
        expect(Buffer.from(await whole.arrayBuffer()).equals(content)).toBe(true)
        const part = await node.request(file ?? '', { headers: { Range: 'bytes=4-7' } })
        expect([part.status, await part.text()]).toEqual([206, 'ftyp'])
        expect((await node.request(thumbnail ?? '')).status).toBe(200)
      }
    }
    await requireVideo()
    expect((await again.request(`/jobs/${id}/log`)).status).toBe(503)
    // The other video was downloaded a moment ago.
    const purged = await again.json('/admin/purge', {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ max_bytes: 0, dry_run: false }),
    })
    expect(purged).toMatchObject({ jobs: 1 })
    expect(videos()).toEqual([filename])
    expect((await a.request(`/status/${other}`)).status).toBe(410)

    const isLost = async () =>
      expect((await nodesOf(a)).find(({ name }) => name === 'c')?.state).toBe('lost')
    await vi.waitFor(isLost, { timeout: 20_000 })
    expect((await again.request('/nodes/c', { method: 'DELETE' })).status).toBe(200)
    await requireVideo()
    const deleted = await again.json(`/videos?ids=${id}`, { method: 'DELETE' })
    expect(deleted).toMatchObject({ deleted: [{ id }] })
    expect(videos()).toEqual([])
  })

  it('keep the recorded video when a node that was cut off ends its conversion late', async () => {
    const url = await server().createDatabase()
    const { env, videos, unfinished, at } = aSharedDirectory()
    const a = await startClusterNode(url, 'a', { env })
    await untilLeads(a)
    const { PATH, release } = aHeldFfmpeg()
    const network = await aSilentProxy(url)
    const b = await startClusterNode(network.url, 'b', { env: { ...env, PATH } })
    await untilPresent([a, b])
    await a.request('/nodes/a/drain', { method: 'POST' })
    const ids = [
      await a.submit({ prompt: 'with a name', filename: 'fox.mp4' }),
      await a.submit({ prompt: 'without a name' }),
    ]
    for (const id of ids) await a.until(id, isConverting)
    await vi.waitFor(() => expect(unfinished()).toHaveLength(2), { timeout: 20_000 })

    network.fallSilent()
    await a.request('/nodes/a/resume', { method: 'POST' })
    const jobs: JobJson[] = []
    for (const id of ids) jobs.push(await a.until(id))
    for (const job of jobs) expect(job).toMatchObject({ status: 'success', node: 'a', attempt: 1 })
    const names = jobs.map(({ filename }) => filename ?? '').toSorted()
    const contents = names.map((name) => readFileSync(at(name)))
    release()
    network.heal()
    await untilPresent([a, b])
    await vi.waitFor(() => expect(unfinished()).toEqual([]), { timeout: 20_000 })
    expect(videos().toSorted()).toEqual(names)
    for (const [index, name] of names.entries()) {
      expect(readFileSync(at(name)).equals(contents[index] ?? Buffer.of())).toBe(true)
    }
    for (const { file_url } of jobs) expect((await b.request(file_url ?? '')).status).toBe(200)
  })

  it('refuse a node that keeps its videos elsewhere, and say what to do', async () => {
    const url = await server().createDatabase()
    const { env, at } = aSharedDirectory()
    const own = await startClusterNode(url, 'a')
    await untilLeads(own)
    const refused = (more: NodeJS.ProcessEnv) =>
      expect(startClusterNode(url, 'b', { env: more, dataDir: dataDir })).rejects
    const dataDir = aDataDirectory()
    await refused(env).toThrow('runs without it. Stop all nodes')
    expect(await own.stop()).toBe(0)

    const a = await startClusterNode(url, 'a', { dataDir: own.dataDir, env })
    await untilLeads(a)
    await refused({}).toThrow('RESULTS_SHARED is not set here')
    const other = aSharedDirectory()
    await refused(other.env).toThrow('is not the directory that this cluster shares')
    await refused({ ...env, RESULTS_DIR: at('none') }).toThrow('does not exist')
    const findings = async (more: NodeJS.ProcessEnv) => {
      const doctor = serviceEnvironment(dataDir, { DATABASE_URL: url, ...more })
      const { stdout } = await wanctl(['doctor', '--json'], { env: doctor })
      const { checks } = JSON.parse(stdout) as { checks: { name: string; verdict: string }[] }
      return checks.filter(({ name }) => name === 'results').map(({ verdict }) => verdict)
    }
    expect(await findings(other.env)).toEqual(['fault'])
    expect(await findings({})).toEqual(['fault'])
    expect(await findings(env)).toEqual(['ok'])

    // As when its file system is unmounted.
    const marker = readFileSync(at('.wan-cluster'))
    rmSync(at('.wan-cluster'))
    const id = await a.submit({ prompt: 'waits' })
    const isPaused = () => expect(a.allLogs()).toContain('the environment fails a conversion')
    await vi.waitFor(isPaused, { timeout: 20_000 })
    expect(readdirSync(env.RESULTS_DIR)).toEqual([])
    writeFileSync(at('.wan-cluster'), marker)
    const { file_url: file, ...job } = await a.until(id)
    expect(job).toMatchObject({ status: 'success', attempt: 1 })
    expect((await a.request(file ?? '')).status).toBe(200)
    rmSync(at('.wan-cluster'))
    rmSync(at(job.filename ?? ''))
    expect((await a.request(file ?? '')).status).toBe(503)
    expect(await a.status(id)).toMatchObject({ file_lost: null })
  })
})
