/** Files of one node through the leader, and through a follower in front of it: real servers, real files. */
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdirSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import { join } from 'node:path'
import { Hono } from 'hono'
import { describe, expect, it, vi } from 'vitest'
import { refOf, tell } from '../../../src/actors/actor.ts'
import type { FileFinding } from '../../../src/actors/archive/archive-ports.ts'
import type { ArchiveMessage } from '../../../src/actors/archive/archive-protocol.ts'
import type { Job, WithFile } from '../../../src/domain/job.ts'
import { answerNodes } from '../../../src/http/forwarding/node-routes.ts'
import { createPeers } from '../../../src/http/peers/peers.ts'
import type { Holder } from '../../../src/http/response/node-files.ts'
import {
  aDeadUrl,
  aFollower,
  aLog,
  anElection,
  aPlainLeader,
  clusterSecret,
  noFiles,
  serve,
} from '../../support/cluster/http-nodes.ts'
import { aQueuedJob, aVideo, gpu0, midnight } from '../../support/jobs.ts'
import { anApp } from '../../support/routes.ts'
import { aDataDirectory } from '../../support/service.ts'

const video = randomBytes(3 * 1024 * 1024)
const filename = 'a cat.mp4'
const job: WithFile = {
  ...aQueuedJob(1),
  state: {
    ...{ status: 'success', gpu: gpu0, filename, video: aVideo() },
    ...{ startedAt: midnight, endedAt: midnight + 60_000 },
  },
}
const path = `/files/${encodeURIComponent(filename)}`

/** A node with the files of the job. */
async function aNode(finding: FileFinding = 'own', name = 'gpu-1') {
  const dataDir = aDataDirectory()
  const [resultsDir, previewsDir] = [join(dataDir, 'results'), join(dataDir, 'previews')]
  for (const directory of [resultsDir, previewsDir]) mkdirSync(directory)
  writeFileSync(join(resultsDir, filename), video)
  for (const kind of ['thumbnail', 'spritesheet'])
    writeFileSync(join(previewsDir, `${kind}.webp`), `a ${kind}`)
  writeFileSync(join(dataDir, `${job.id}.log`), 'line 1\nline 2\n')
  const peers = createPeers(clusterSecret)
  const other = new Hono().all('*', (c) => c.text('an app', 404))
  const files = {
    ...noFiles,
    ...{ resultsDir, previewsDir, logPath: (id: string) => join(dataDir, `${id}.log`) },
    find: async (id: string): Promise<Job | undefined> => (id === job.id ? job : undefined),
    previews: { of: async (_: unknown, kind: string) => `${kind}.webp` },
    videoFiles: { find: async () => finding },
  }
  const server = await serve(answerNodes(other, { name, peers, files, log: aLog().log }))
  return { ...server, name: 'gpu-1' }
}

async function aLeader(holder: Holder) {
  const compared: unknown[] = []
  const inUse = new Set<string>()
  const archive = refOf<ArchiveMessage>('archive', (message) => {
    if (message.type === 'findVideo') tell(message.replyTo, job)
    if (message.type === 'find') tell(message.replyTo, { job })
    if (message.type === 'compareFiles') compared.push(message.jobIds)
    return true
  })
  const downloads = {
    begin(name: string) {
      inUse.add(name)
      return () => void inUse.delete(name)
    },
  }
  const peers = createPeers(clusterSecret, { connectMs: 500 })
  const files = { holder: () => holder, downloads }
  const server = await serve(anApp({ archive, peers, files }))
  return { ...server, compared, inUse }
}

async function aCluster(finding?: FileFinding) {
  const leader = await aLeader(await aNode(finding))
  return { leader, follower: await aFollower(anElection(leader)) }
}

const get = (url: string, headers: Record<string, string> = {}, method = 'GET') =>
  fetch(url, { method, headers })

describe('a video on another node', () => {
  it('is downloaded through the leader, and through any node, as from one machine', async () => {
    const { leader, follower } = await aCluster()
    for (const { url } of [leader, follower]) {
      const response = await get(url + path)
      expect(Buffer.from(await response.arrayBuffer()).equals(video)).toBe(true)
      expect(Object.fromEntries(response.headers)).toMatchObject({
        ...{ 'content-length': String(video.length), 'content-type': 'video/mp4' },
        ...{ 'accept-ranges': 'bytes', 'cache-control': 'public, max-age=31536000, immutable' },
        'content-disposition': "inline; filename*=UTF-8''a%20cat.mp4",
        etag: expect.stringMatching(/^"/),
      })
    }
    expect(leader.compared).toEqual([])
  })

  it('is sent in parts, and not again to those who have it', async () => {
    const { follower } = await aCluster()
    const url = follower.url + path
    const head = await get(url, {}, 'HEAD')
    expect([head.status, head.headers.get('Content-Length')]).toEqual([200, String(video.length)])
    const part = await get(url, { Range: 'bytes=1000-1999' })
    expect(part.status).toBe(206)
    expect(part.headers.get('Content-Range')).toBe(`bytes 1000-1999/${video.length}`)
    expect(Buffer.from(await part.arrayBuffer()).equals(video.subarray(1_000, 2_000))).toBe(true)
    const etag = head.headers.get('ETag') ?? ''
    expect((await get(url, { 'If-None-Match': etag })).status).toBe(304)
    expect((await get(url, { Range: 'bytes=0-0', 'If-Range': etag })).status).toBe(206)
    expect((await get(url, { Range: 'bytes=0-0', 'If-Range': '"other"' })).status).toBe(200)
    const other = await get(url, { 'If-Match': '"other"' })
    expect(await other.json()).toMatchObject({ code: 'precondition_failed' })
    const beyond = await get(url, { Range: 'bytes=99999999-' })
    expect(beyond.headers.get('Content-Range')).toBe(`bytes */${video.length}`)
    expect(await beyond.json()).toMatchObject({ code: 'range_not_satisfiable' })
  })

  it('counts as in use until its download has ended', async () => {
    const { leader } = await aCluster()
    const socket = net.connect(Number(new URL(leader.url).port), '127.0.0.1')
    socket.on('error', () => {})
    socket.write(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`)
    await once(socket, 'data')
    socket.pause()
    expect([...leader.inUse]).toEqual([filename])
    socket.destroy()
    await vi.waitUntil(() => leader.inUse.size === 0)
    await (await get(leader.url + path)).arrayBuffer()
    await vi.waitUntil(() => leader.inUse.size === 0)
    await get(leader.url + path, {}, 'HEAD')
    await vi.waitUntil(() => leader.inUse.size === 0)
  })

  it.each([
    ['missing', 'video_not_found'],
    ['other', 'video_replaced'],
  ] as const)('whose file is %s is refused, and the archive compares it', async (finding, code) => {
    const { leader } = await aCluster(finding)
    const response = await get(leader.url + path)
    expect(response.status).toBe(404)
    expect(await response.json()).toMatchObject({ code })
    expect(leader.compared).toEqual([[job.id]])
    expect(leader.inUse.size).toBe(0)
  })
})

describe('previews and logs on another node', () => {
  it('are sent by both APIs', async () => {
    const { follower } = await aCluster()
    const text = async (path: string) => (await get(follower.url + path)).text()
    const content = `/v1/videos/video_${job.id}/content?variant=`
    expect(await text(`/jobs/${job.id}/thumbnail`)).toBe('a thumbnail')
    expect(await text(`${content}thumbnail`)).toBe('a thumbnail')
    expect(await text(`${content}spritesheet`)).toBe('a spritesheet')
    expect(await text(`${content}video`)).toHaveLength(video.toString().length)
    const log = await get(`${follower.url}/jobs/${job.id}/log`)
    expect(log.headers.get('Cache-Control')).toBe('no-store')
    expect(await log.text()).toBe('line 1\nline 2\n')
    const rest = await get(`${follower.url}/jobs/${job.id}/log`, { Range: 'bytes=7-' })
    expect([rest.status, await rest.text()]).toEqual([206, 'line 2\n'])
  })
})

describe('a node that is not there', () => {
  const name = 'gpu-1'

  it.each<[string, () => Promise<Holder>]>([
    ['away', async () => 'away'],
    ['dead', async () => ({ name, url: await aDeadUrl() })],
    ['not the one at its URL', () => aNode('missing', 'gpu-2')],
  ])('has its files refused when it is %s', async (_, holder) => {
    const leader = await aLeader(await holder())
    for (const wanted of [path, `/jobs/${job.id}/thumbnail`, `/jobs/${job.id}/log`]) {
      const response = await get(leader.url + wanted)
      expect(response.status).toBe(503)
      expect(response.headers.get('Retry-After')).toBe('30')
      expect(await response.json()).toMatchObject({ code: 'node_away' })
    }
    const openAi = await get(`${leader.url}/v1/videos/video_${job.id}/content`)
    expect(openAi.headers.get('x-should-retry')).toBe('false')
    expect(await openAi.json()).toMatchObject({ error: { code: 'node_away' } })
    expect(leader.inUse.size).toBe(0)
    expect(leader.compared).toEqual([])
  })

  it('and breaks off in the middle breaks off the download', async () => {
    const node = await aPlainLeader((_, response) => {
      response.writeHead(200, { 'Content-Length': '1000' })
      response.write('begin', () => response.destroy())
    })
    const leader = await aLeader({ ...node, name })
    const follower = await aFollower(anElection(leader))
    for (const { url } of [leader, follower]) {
      const response = get(url + path).then((one) => one.text())
      await expect(response).rejects.toThrow()
    }
    await vi.waitUntil(() => leader.inUse.size === 0)
  })

  it.each([
    ['fails', 500, '{"status":500}'],
    ['does not know the job', 404, '{"code":"job_not_found","detail":"No job."}'],
  ])('or %s is not taken for a lost file', async (_, status, body) => {
    const node = await aPlainLeader((_request, response) => {
      response.writeHead(status).end(body)
    })
    const leader = await aLeader({ ...node, name })
    const response = await get(leader.url + path)
    expect(response.status).toBe(503)
    expect(await response.json()).toMatchObject({ code: 'service_busy' })
    expect(leader.compared).toEqual([])
  })
})

describe('the routes between nodes', () => {
  it('do not exist for clients, through a follower either', async () => {
    const node = await aNode()
    const follower = await aFollower(anElection(node))
    const { forwardKey } = createPeers(clusterSecret)
    for (const file of ['video', 'thumbnail', 'spritesheet', 'log']) {
      const path = `/internal/jobs/${job.id}/${file}`
      for (const url of [node.url, follower.url]) {
        const response = await get(url + path, { 'Wan-Node-Key': forwardKey })
        expect(await response.text()).toBe('an app')
      }
    }
  })

  it('refuse an id that is none', async () => {
    const node = await aNode()
    const { nodeKey } = createPeers(clusterSecret)
    for (const id of ['..%2F..%2Fetc%2Fpasswd', 'x']) {
      const response = await get(`${node.url}/internal/jobs/${id}/log`, { 'Wan-Node-Key': nodeKey })
      expect(response.status).toBe(422)
    }
  })
})
