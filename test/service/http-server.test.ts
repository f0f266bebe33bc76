/** Node's server in front of the real app, in this process: what bytes on a socket become. */
import { once } from 'node:events'
import net from 'node:net'
import { afterEach, describe, expect, it, vi } from 'vitest'
import type { App } from '../../src/http/app.ts'
import { type HttpServer, listen } from '../../src/service/http-server.ts'
import { anApp } from '../support/routes.ts'

const servers: HttpServer[] = []
afterEach(async () => {
  for (const server of servers.splice(0)) await server.close()
})

const get = (path: string, more = '') => `GET ${path} HTTP/1.1\r\nHost: localhost\r\n${more}\r\n`

describe('a connection', () => {
  it('answers requests that arrive at once in their order', async () => {
    const { send } = await serve()
    const text = await send(
      get('/docs/page.css') + get('/nothing') + get('/docs', 'Connection: close\r\n'),
    )
    const statuses = [...text.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => status)
    expect(statuses).toEqual(['200', '404', '200'])
  })

  it('holds one document at a time when its client does not read', async () => {
    const { port } = await serve()
    const before = process.memoryUsage().rss
    const sockets = Array.from({ length: 20 }, () => {
      const socket = net.connect(port, '127.0.0.1').pause()
      socket.on('error', () => {})
      socket.write(get('/openapi.json').repeat(1_000))
      return socket
    })
    await Promise.all(sockets.map((socket) => once(socket, 'connect')))
    for (let n = 0; n < 20; n += 1)
      expect((await fetch(`http://127.0.0.1:${port}/docs`)).status).toBe(200)
    expect(process.memoryUsage().rss - before).toBeLessThan(300 * 1024 * 1024)
    for (const socket of sockets) socket.destroy()
  })

  it.each([
    ['a Host that is missing', 'GET /docs HTTP/1.1\r\n\r\n', 400],
    ['two Hosts', 'GET /docs HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n', 400],
    ['another expectation', get('/docs', 'Expect: miracles\r\n'), 417],
    ['no Host in HTTP/1.0', 'GET /docs HTTP/1.0\r\n\r\n', 200],
    ['an upgrade', get('/docs', 'Connection: Upgrade\r\nUpgrade: websocket\r\n'), 200],
    ['no HTTP', 'hello\r\n\r\n', 400],
  ])('answers %s', async (_, request, status) => {
    const { send } = await serve()
    expect(await send(request, true)).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `))
  })

  it('refuses more headers than it reads, and drops none', async () => {
    const { send } = await serve()
    const many = (count: number) => get('/docs', `${'a:b\r\n'.repeat(count)}Expect: miracles\r\n`)
    expect(await send(many(900), true)).toMatch(/^HTTP\/1\.1 417 /)
    expect(await send(many(1_200), true)).toMatch(/^HTTP\/1\.1 431 /)
  })

  it('closes on CONNECT', async () => {
    const { send } = await serve()
    expect(await send('CONNECT example.org:443 HTTP/1.1\r\nHost: example.org\r\n\r\n')).toBe('')
  })
})

async function serve() {
  const server = await listen(anApp() as unknown as App, {
    host: '127.0.0.1',
    port: 0,
    limits: { maxConnections: 100, maxPerAddress: 100, maxStallMs: 60_000, maxHeldBytes: 1e8 },
    memory: { isShort: () => false },
    observe: () => {},
    log: { warn: () => {} },
  })
  servers.push(server)
  const port = Number(new URL(server.url).port)
  return {
    port,
    /** All that is answered until the connection is closed; `first`: until the first answer has begun. */
    async send(request: string, first = false): Promise<string> {
      const socket = net.connect(port, '127.0.0.1')
      let text = ''
      socket.setEncoding('latin1').on('data', (data) => {
        text += data
      })
      socket.on('error', () => {})
      socket.write(request)
      await vi.waitUntil(() => socket.destroyed || (first && text !== ''), { timeout: 10_000 })
      socket.destroy()
      return text
    },
  }
}
