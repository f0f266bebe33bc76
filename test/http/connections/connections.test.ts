import { once } from 'node:events'
import { createServer, type IncomingMessage } from 'node:http'
import net, { type AddressInfo } from 'node:net'
import { afterEach, describe, expect, it, vi } from 'vitest'
import type { Observation } from '../../../src/domain/observation.ts'
import { guardConnections } from '../../../src/http/connections/connections.ts'
import { Outgoing } from '../../../src/http/fast/outgoing.ts'

const closing: (() => void)[] = []
afterEach(() => {
  for (const close of closing.splice(0)) close()
})

describe('a full server', () => {
  it('closes the oldest idle connection for a new one, and reports it', async () => {
    const server = await serve({ maxConnections: 3 })
    const [oldest, ...others] = await inTurn(3, () => server.connected())
    const late = await server.connected()
    await vi.waitUntil(() => oldest?.destroyed)
    expect([...others, late].map(({ destroyed }) => destroyed)).toEqual([false, false, false])
    expect(server.saw('connectionCut')).toEqual([{ saw: 'connectionCut', reason: 'evicted' }])
    expect(server.lines).toMatchObject([{ reason: 'evicted', addresses: { '127.0.0.1': 1 } }])
    expect(server.open()).toBe(3)
  })

  it('refuses a new connection when every other has a young request', async () => {
    const server = await serve({ maxConnections: 3 })
    const waiting = await inTurn(3, () => server.waiting())
    const late = server.connect()
    await once(late, 'close')
    expect(waiting.map(({ destroyed }) => destroyed)).toEqual([false, false, false])
    expect(server.saw('connectionCut')).toEqual([{ saw: 'connectionCut', reason: 'refused' }])
  })

  it('has room for another address when one has as many as it may', async () => {
    const server = await serve({ maxConnections: 4, maxPerAddress: 2 })
    const greedy = await inTurn(2, () => server.waiting('127.0.0.2'))
    await once(server.connect('127.0.0.2'), 'close')
    const other = await server.waiting('127.0.0.3')
    expect([...greedy, other].map(({ destroyed }) => destroyed)).toEqual([false, false, false])
  })

  it('keeps count of connections that end in any way', async () => {
    const server = await serve({ maxConnections: 2 })
    for (let n = 0; n < 20; n += 1) {
      const socket = n % 2 ? await server.waiting() : await server.connected()
      socket.destroy()
      await vi.waitUntil(() => server.open() === 0)
    }
    expect(server.saw('connectionCut')).toEqual([])
  })
})

describe('another node', () => {
  const isPeer = true

  it('has more connections than one address may have, and those of the address count by themselves', async () => {
    const server = await serve({ maxConnections: 20, maxPerAddress: 2 })
    const streams = await inTurn(6, () => server.waiting('127.0.0.2', { isPeer }))
    const own = await inTurn(2, () => server.waiting('127.0.0.2'))
    await once(server.connect('127.0.0.2'), 'close')
    expect([...streams, ...own].map(({ destroyed }) => destroyed)).toEqual(Array(8).fill(false))
    expect(server.saw('connectionCut')).toEqual([{ saw: 'connectionCut', reason: 'refused' }])
  })

  it('keeps its connections when an attacker fills the server from another address', async () => {
    const server = await serve({ maxConnections: 8, maxPerAddress: 8 })
    const streams = await inTurn(4, () => server.waiting('127.0.0.2', { isPeer }))
    for (let n = 0; n < 20; n += 1) await server.connected()
    expect(streams.map(({ destroyed }) => destroyed)).toEqual(Array(4).fill(false))
    const another = await server.waiting('127.0.0.2', { isPeer })
    expect(another.destroyed).toBe(false)
    expect(server.open()).toBe(8)
  })

  it('is not believed without the key: its connections are those of its address', async () => {
    const server = await serve({ maxConnections: 20, maxPerAddress: 2 })
    await inTurn(2, () => server.waiting('127.0.0.2'))
    await once(server.connect('127.0.0.2'), 'close')
    expect(server.saw('connectionCut')).toEqual([{ saw: 'connectionCut', reason: 'refused' }])
  })
})

describe('a connection', () => {
  it('is cut when its peer takes nothing for too long', async () => {
    const server = await serve({ maxStallMs: 300 })
    const socket = server.connect()
    socket.pause()
    socket.write('GET /large HTTP/1.1\r\nHost: x\r\n\r\n')
    await vi.waitUntil(() => server.saw('connectionCut').length > 0, { timeout: 10_000 })
    expect(server.saw('connectionCut')).toEqual([{ saw: 'connectionCut', reason: 'stalled' }])
    expect(server.open()).toBe(0)
    expect(server.responses[0]?.wasCut).toBe(true)
  })

  it('is not cut while its peer takes a little now and then, or waits for an answer', async () => {
    const server = await serve({ maxStallMs: 1_500 })
    const waiting = await server.waiting()
    const idle = await server.connected()
    const slow = server.connect()
    let bytes = 0
    slow.pause()
    slow.write('GET /large HTTP/1.1\r\nHost: x\r\n\r\n')
    const taking = setInterval(() => {
      bytes += (slow.read() as Buffer | null)?.length ?? 0
    }, 10)
    closing.push(() => clearInterval(taking))
    await vi.waitUntil(() => bytes > 20_000_000, { timeout: 30_000 })
    expect([waiting, idle, slow].map(({ destroyed }) => destroyed)).toEqual([false, false, false])
    expect(server.saw('connectionCut')).toEqual([])
  })

  it('is cut when all of them together hold too much', async () => {
    const server = await serve({ maxHeldBytes: 100_000_000 })
    const greedy = await inTurn(8, async () => {
      const socket = server.connect()
      socket.pause()
      socket.write('GET /large HTTP/1.1\r\nHost: x\r\n\r\n')
      return socket
    })
    await vi.waitUntil(() => server.saw('connectionCut').length >= 4, { timeout: 10_000 })
    expect(server.saw('connectionCut')[0]).toEqual({ saw: 'connectionCut', reason: 'over_budget' })
    expect(greedy.filter(({ destroyed }) => !destroyed).length).toBeGreaterThan(0)
  })

  it('counts what waits in front of the socket', async () => {
    const server = await serve({ maxHeldBytes: 1_000, maxStallMs: 60_000 })
    await server.waiting()
    for (const response of server.responses) response.waitingBytes = () => 5_000
    await vi.waitUntil(() => server.saw('connectionCut').length > 0, { timeout: 5_000 })
    expect(server.saw('connectionCut')).toEqual([{ saw: 'connectionCut', reason: 'over_budget' }])
  })
})

describe('a response', () => {
  it('was cut by a server that closes, and not by a client that hangs up', async () => {
    const server = await serve({})
    const leaving = await server.waiting()
    leaving.destroy()
    await vi.waitUntil(() => server.responses[0]?.destroyed)
    expect(server.responses[0]?.wasCut).toBe(false)
    await server.waiting()
    server.guard.startClosing()
    expect(server.responses[1]?.wasCut).toBe(true)
  })
})

async function inTurn<T>(count: number, make: () => Promise<T>): Promise<T[]> {
  const made: T[] = []
  for (let n = 0; n < count; n += 1) made.push(await make())
  return made
}

async function serve(changed: Partial<Parameters<typeof guardConnections>[1]['limits']>) {
  const seen: Observation[] = []
  const lines: object[] = []
  const responses: Outgoing[] = []
  const server = createServer<typeof IncomingMessage, typeof Outgoing>({
    ServerResponse: Outgoing,
    keepAliveTimeout: 75_000,
  })
  const limits = {
    ...{ maxConnections: 100, maxPerAddress: 100, maxStallMs: 60_000, maxHeldBytes: 1e9 },
    ...changed,
  }
  const memory = { isShort: () => false }
  const guard = guardConnections(server, {
    limits,
    memory,
    isPeer: ({ headers }) => headers['x-peer'] === 'yes',
    observe: (observation) => void seen.push(observation),
    log: { warn: (fields) => void lines.push(fields) },
  })
  const large = Buffer.alloc(32_000_000)
  server.on('request', (request, response) => {
    responses.push(response)
    if (request.url === '/large') response.end(large)
    else if (request.url !== '/wait') response.end('ok')
  })
  closing.push(() => {
    server.closeAllConnections()
    server.close()
  })
  await new Promise<void>((resolve) => server.listen(0, resolve))
  const { port } = server.address() as AddressInfo
  const connect = (localAddress = '127.0.0.1') => {
    const socket = net.connect({ port, host: '127.0.0.1', localAddress })
    socket.on('error', () => {})
    closing.push(() => socket.destroy())
    return socket
  }
  const saw = (what: Observation['saw']) => seen.filter(({ saw }) => saw === what)
  return {
    guard,
    memory,
    lines,
    responses,
    connect,
    saw,
    open: () => saw('connectionOpened').length - saw('connectionClosed').length,

    /** Idle after one request. */
    async connected() {
      const socket = connect()
      socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n')
      await once(socket, 'data')
      return socket.resume()
    },

    /** With a request that is not answered. */
    async waiting(address?: string, { isPeer = false } = {}) {
      const socket = connect(address)
      const before = responses.length
      const more = isPeer ? 'X-Peer: yes\r\n' : ''
      socket.write(`GET /wait HTTP/1.1\r\nHost: x\r\n${more}\r\n`)
      await vi.waitUntil(() => responses.length > before)
      return socket.resume()
    },
  }
}
