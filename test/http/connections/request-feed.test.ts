import { once } from 'node:events'
import http from 'node:http'
import net, { type AddressInfo } from 'node:net'
import fc from 'fast-check'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { createRequestFeed, lengthOfPiece } from '../../../src/http/connections/request-feed.ts'

const closing: (() => void)[] = []
afterEach(() => {
  for (const close of closing.splice(0)) close()
})

describe('a piece for the parser', () => {
  const header = 'GET / HTTP/1.1\r\nHost: x\r\n\r\n'

  it('ends with the header of a request', () => {
    expect(lengthOfPiece(Buffer.from(header.repeat(3)), false)).toBe(header.length)
    expect(lengthOfPiece(Buffer.from('GET / HTTP/1.1\r\nHos'), false)).toBe(19)
  })

  it('holds ten requests behind a body at most', () => {
    const length = lengthOfPiece(Buffer.from(header.repeat(100)), true)
    expect(length).toBeLessThan(256 + header.length)
    expect(length).toBeGreaterThanOrEqual(256)
  })
})

describe('requests that arrive at once', () => {
  it('are handled one at a time and answered in their order', async () => {
    let inProgress = 0
    let most = 0
    const server = await serve(async (request, response) => {
      most = Math.max(most, ++inProgress)
      await new Promise(setImmediate)
      inProgress -= 1
      response.end(`${request.url}\r\n`)
    })
    const { socket, text } = server.connect()
    const count = 1_000
    socket.write(Array.from({ length: count }, (_, n) => get(`/${n}`)).join(''))
    await vi.waitUntil(() => text().includes(`/${count - 1}\r\n`), { timeout: 20_000 })
    expect(most).toBe(1)
    const answered = [...text().matchAll(/^\/(\d+)\r$/gm)].map(([, n]) => Number(n))
    expect(answered).toEqual(Array.from({ length: count }, (_, n) => n))
  })

  it('are the same requests, however their bytes are split', async () => {
    const bodies: string[] = []
    const server = await serve(async (request, response) => {
      let body = ''
      for await (const piece of request) body += piece
      bodies.push(`${request.method} ${request.url} ${body}`)
      response.end('ok')
    })
    const anyRequest = fc.record({
      body: fc.oneof(fc.constant(undefined), fc.string({ unit: fc.constantFrom('a', '\r\n\r\n') })),
      isChunked: fc.boolean(),
    })
    const story = fc.tuple(
      fc.array(anyRequest, { minLength: 1, maxLength: 12 }),
      fc.array(fc.nat({ max: 2_000 }), { maxLength: 6 }),
    )
    await fc.assert(
      fc.asyncProperty(story, async ([requests, cuts]) => {
        bodies.length = 0
        const bytes = requests.map(({ body, isChunked }, n) => {
          if (body === undefined) return get(`/${n}`)
          const head = `POST /${n} HTTP/1.1\r\nHost: x\r\n`
          if (!isChunked) return `${head}Content-Length: ${body.length}\r\n\r\n${body}`
          const chunk = body === '' ? '' : `${body.length.toString(16)}\r\n${body}\r\n`
          return `${head}Transfer-Encoding: chunked\r\n\r\n${chunk}0\r\n\r\n`
        })
        const { socket, text } = server.connect()
        let begin = 0
        const whole = bytes.join('')
        for (const cut of [...cuts.toSorted((a, b) => a - b), whole.length]) {
          await new Promise((resolve) => socket.write(whole.slice(begin, cut), resolve))
          await new Promise(setImmediate)
          begin = Math.max(begin, cut)
        }
        await vi.waitUntil(() => text().split('HTTP/1.1 200').length > requests.length)
        socket.destroy()
        // The requests behind a body that ends may be started with it.
        const inOrder = bodies.toSorted((a, b) => numberOf(a) - numberOf(b))
        expect(inOrder).toEqual(
          requests.map(
            ({ body }, n) => `${body === undefined ? 'GET' : 'POST'} /${n} ${body ?? ''}`,
          ),
        )
      }),
      { numRuns: 60 },
    )
  })

  it('are read ahead by no more than is bounded while one of them is in progress', async () => {
    const server = await serve(() => {})
    const { socket } = server.connect()
    socket.write(get('/first') + get('/next').repeat(100_000))
    await vi.waitUntil(() => server.feeds.length === 1 && server.started() === 1)
    // As soon as the kernel takes no more of them, the service has read all that it will read.
    await vi.waitUntil(() => (server.sockets[0]?.bytesRead ?? 0) > 16_384)
    let before = -1
    await vi.waitUntil(
      () => {
        const now = server.sockets[0]?.bytesRead ?? 0
        const isSame = now === before
        before = now
        return isSame
      },
      { interval: 100 },
    )
    expect(before).toBeLessThan(4 * 65_536)
    expect(server.feeds[0]?.heldBytes()).toBeGreaterThan(16_384)
    expect(server.started()).toBe(1)
  })

  it('do not hide that their client has hung up', async () => {
    let closed = 0
    const server = await serve((_, response) => {
      response.once('close', () => {
        closed += 1
      })
    })
    const { socket } = server.connect()
    socket.write(`${get('/first')}\r\n${get('/second').repeat(10)}`)
    await vi.waitUntil(() => server.started() === 1)
    socket.destroy()
    await vi.waitUntil(() => closed === 1)
    expect(server.started()).toBe(1)
  })

  it('are dropped behind a request that closes the connection', async () => {
    const server = await serve((_, response) => response.end('ok'))
    const { socket, text } = server.connect()
    socket.write(
      `GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n${get('/next').repeat(50)}`,
    )
    await once(socket, 'close')
    expect(text().match(/HTTP\/1\.1/g)).toHaveLength(1)
  })

  it('wait until the response before has been taken', async () => {
    const large = Buffer.alloc(32 * 1024 * 1024)
    const server = await serve((_, response) => response.end(large))
    const { socket } = server.connect()
    socket.pause()
    socket.write(get('/large').repeat(100))
    await vi.waitUntil(() => (server.sockets[0]?.writableLength ?? 0) > 0)
    expect(server.started()).toBe(1)
    socket.resume()
    await vi.waitUntil(() => server.started() > 1, { timeout: 10_000 })
    socket.destroy()
  })
})

const numberOf = (text: string) => Number(/\/(\d+)/.exec(text)?.[1])

const get = (path: string) => `GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`

async function serve(
  handle: (request: http.IncomingMessage, response: http.ServerResponse) => unknown,
) {
  const feeds: ReturnType<typeof createRequestFeed>[] = []
  const sockets: net.Socket[] = []
  let started = 0
  const server = http.createServer((request, response) => {
    started += 1
    const feed = feeds[sockets.indexOf(request.socket)]
    feed?.requestStarted(request)
    response.once('close', () => feed?.responseSent())
    void handle(request, response)
  })
  server.on('connection', (socket) => {
    sockets.push(socket)
    feeds.push(createRequestFeed(socket))
  })
  closing.push(() => {
    server.closeAllConnections()
    server.close()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return {
    feeds,
    sockets,
    started: () => started,
    connect() {
      const socket = net.connect(port, '127.0.0.1')
      let text = ''
      socket.setEncoding('latin1').on('data', (data) => {
        text += data
      })
      socket.on('error', () => {})
      closing.push(() => socket.destroy())
      return { socket, text: () => text }
    },
  }
}
