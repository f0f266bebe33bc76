/** Followers in front of the app of a leader, on real servers. */
import { createHash } from 'node:crypto'
import net from 'node:net'
import { Hono } from 'hono'
import { describe, expect, it, vi } from 'vitest'
import { refOf, tell } from '../../../src/actors/actor.ts'
import type { QueueMessage } from '../../../src/actors/queue/queue-protocol.ts'
import { RefusalError } from '../../../src/domain/errors.ts'
import { answerNodes } from '../../../src/http/forwarding/node-routes.ts'
import { createPeers } from '../../../src/http/peers/peers.ts'
import type { ClientEnv } from '../../../src/http/request/client-env.ts'
import { route } from '../../../src/http/request/route.ts'
import {
  aFollower,
  aLog,
  anElection,
  clusterSecret,
  noFiles,
  serve,
} from '../../support/cluster/http-nodes.ts'
import { anApp } from '../../support/routes.ts'

/** The real app, whose queue notes for whom a job is submitted, and takes none. */
async function aLeader(options: Parameters<typeof anApp>[0] = {}) {
  const addresses: string[] = []
  const queue = refOf<QueueMessage>('queue', (message) => {
    if (message.type !== 'submit') return true
    addresses.push(message.client.address)
    tell(message.replyTo, new RefusalError('shutting_down', 'It ends.'))
    return true
  })
  const peers = createPeers(clusterSecret)
  const server = await serve(anApp({ queue, peers, ...options }) as never)
  return { ...server, addresses }
}

const submit = (url: string, headers: Record<string, string> = {}) =>
  fetch(`${url}/generate`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', ...headers },
    body: '{"prompt":"a cat","size":"1280x720"}',
  })

const raw = (url: string, message: string) =>
  new Promise<string>((resolve) => {
    const socket = net.connect(Number(new URL(url).port), '127.0.0.1')
    let received = ''
    socket.setEncoding('latin1').on('data', (piece) => {
      received += piece
    })
    socket.once('close', () => resolve(received))
    socket.write(message)
  })

const holder = (name: string, isAdmin: boolean) => ({
  ...{ name, isAdmin },
  tokenDigest: createHash('sha256').update(name).digest(),
})

const access = { clients: [], trustedProxies: 0, corsOrigins: [] }

describe('the leader', () => {
  it('takes the address of a client from the node that forwards its request', async () => {
    const leader = await aLeader()
    const proxied = { access: { ...access, trustedProxies: 1 } }
    const follower = await aFollower(anElection(leader), proxied)
    await submit(follower.url, { 'X-Forwarded-For': '192.0.2.7' })
    await submit(follower.url, { 'X-Forwarded-For': '2001:db8::1' })
    expect(leader.addresses).toEqual(['192.0.2.7', '2001:db8::/64'])
  })

  it('believes nobody else', async () => {
    const leader = await aLeader()
    await submit(leader.url, {
      'Wan-Client-Address': '192.0.2.7',
      'Wan-Forward-Key': clusterSecret,
    })
    const follower = await aFollower(anElection(leader))
    await submit(follower.url, { 'Wan-Client-Address': '192.0.2.7' })
    expect(leader.addresses).toEqual(['127.0.0.1', '127.0.0.1'])
  })

  it('leaves the names of the other nodes to them', async () => {
    const own = (host: string) => ({ host, baseUrl: '', allowed: [] })
    const leader = await aLeader({ ownHosts: own('leader.example') })
    const follower = await aFollower(anElection(leader), {
      access: { ...access, ownHosts: own('follower.example') },
    })
    const get = (host: string) =>
      raw(follower.url, `GET /whoami HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`)
    expect(await get('follower.example')).toMatch(/^HTTP\/1\.1 200/)
    expect(await get('leader.example')).toContain('host_not_allowed')
  })

  it('has no route for nodes as far as clients can see', async () => {
    const leader = await aLeader()
    const follower = await aFollower(anElection(leader))
    for (const url of [leader.url, follower.url]) {
      const response = await fetch(`${url}/internal/hang-ups/1`, { method: 'POST' })
      expect(await response.json()).toMatchObject({ code: 'route_not_found' })
    }
  })
})

describe('a follower', () => {
  it('refuses pages of other origins itself', async () => {
    const leader = await aLeader()
    const follower = await aFollower(anElection(leader), {
      access: { ...access, corsOrigins: ['https://a.example'] },
    })
    const refused = await submit(follower.url, { Origin: 'https://b.example' })
    expect(await refused.json()).toMatchObject({ code: 'origin_not_allowed' })
    expect(leader.addresses).toEqual([])
    await submit(follower.url, { Origin: 'https://a.example' })
    expect(leader.addresses).toHaveLength(1)
  })

  it('lets allowed pages read why there is no leader', async () => {
    const follower = await aFollower(anElection(), {
      access: { ...access, corsOrigins: ['https://a.example'] },
      waitMs: 50,
    })
    const response = await submit(follower.url, { Origin: 'https://a.example' })
    expect(response.headers.get('Access-Control-Allow-Origin')).toBe('https://a.example')
    expect(await response.json()).toMatchObject({ code: 'no_leader' })
  })

  it('answers its own routes without a leader, and for admins alone where they are', async () => {
    const description = { tag: 'service', summary: 'Its own', answers: {} } as const
    const local = new Hono<ClientEnv>()
      .get('/health', route({ ...description, id: 'a', access: 'probe' }), (c) => c.text('alive'))
      .get('/metrics', route({ ...description, id: 'b', access: 'admin' }), (c) => c.text('some'))
    const clients = [holder('boss', true), holder('guest', false)]
    const follower = await aFollower(anElection(), { local, access: { ...access, clients } })
    const get = (path: string, token?: string) =>
      fetch(`${follower.url}${path}`, {
        ...(token && { headers: { Authorization: `Bearer ${token}` } }),
      })
    expect(await (await get('/health')).text()).toBe('alive')
    expect((await get('/metrics')).status).toBe(401)
    expect((await get('/metrics', 'guest')).status).toBe(403)
    expect(await (await get('/metrics', 'boss')).text()).toBe('some')
  })

  it('reports to its metrics what it has answered, by route', async () => {
    const seen: object[] = []
    const leader = await aLeader()
    const observe = (observation: object) => void seen.push(observation)
    const follower = await aFollower(anElection(leader), { observe })
    await fetch(`${follower.url}/nothing`)
    expect(seen).toMatchObject([{ saw: 'requestAnswered', route: 'forwarded', status: 404 }])
  })
})

describe('a client that hangs up before its response', () => {
  /** A leader that says of each request whether its client hung up. */
  async function aWaitingLeader() {
    const peers = createPeers(clusterSecret)
    const seen: string[] = []
    const app = new Hono<ClientEnv>().post('/v1/videos/sync', async (c) => {
      const { incoming, outgoing } = c.env
      peers.receive(incoming, outgoing)
      await c.req.text()
      seen.push('waits')
      await new Promise((resolve) => c.req.raw.signal.addEventListener('abort', resolve))
      seen.push(outgoing.wasCut ? 'cut' : 'hung up')
      return c.text('')
    })
    const server = await serve(
      answerNodes(app, { name: 'a', peers, log: aLog().log, files: noFiles }),
    )
    return { ...server, seen }
  }

  async function aWaitingClient(url: string) {
    const socket = net.connect(Number(new URL(url).port), '127.0.0.1')
    socket.on('error', () => {})
    socket.write('POST /v1/videos/sync HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na')
    return socket
  }

  it('is reported to the leader', async () => {
    const leader = await aWaitingLeader()
    const follower = await aFollower(anElection(leader))
    const client = await aWaitingClient(follower.url)
    await vi.waitUntil(() => leader.seen.length === 1)
    client.destroy()
    await vi.waitUntil(() => leader.seen.length === 2, { timeout: 5_000 })
    expect(leader.seen).toEqual(['waits', 'hung up'])
  })

  it('is not assumed when the follower stops', async () => {
    const leader = await aWaitingLeader()
    const follower = await aFollower(anElection(leader))
    await aWaitingClient(follower.url)
    await vi.waitUntil(() => leader.seen.length === 1)
    await follower.close()
    await vi.waitUntil(() => leader.seen.length === 2, { timeout: 5_000 })
    expect(leader.seen).toEqual(['waits', 'cut'])
  })
})
