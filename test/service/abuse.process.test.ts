/** What no decent client sends, byte by byte. */
import { readFileSync } from 'node:fs'
import net from 'node:net'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { createShared, type Service, startService } from '../support/service.ts'
import { isFollower } from '../support/store/shared-postgres.ts'

const shared = createShared()
let service: Service
beforeAll(async () => {
  service = await startService({ atEnd: shared.atEnd, env: { GPU_IDS: '0' } })
})
afterAll(shared.clearAway)

const post = 'POST /generate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n'

function flood(headers: number): string {
  return Array.from({ length: headers }, (_, n) => `X-${n}: ${n}\r\n`).join('')
}

describe('a service that is abused', () => {
  it.each([
    ['a number for a Host', 'GET /health HTTP/1.1\r\nHost: 999999999999\r\n\r\n'],
    ['a Host with a space', 'GET /health HTTP/1.1\r\nHost: a b\r\n\r\n'],
    ['a Host of Latin-1', 'GET /health HTTP/1.1\r\nHost: \xe4\r\n\r\n'],
    [
      'a Host that goes on as a path',
      'GET /health HTTP/1.1\r\nHost: w*\xf5#~\xfa\xc7\xc3)y\r\n\r\n',
    ],
    ['another Host within', 'GET /health HTTP/1.1\r\nHost: a@b/c\r\n\r\n'],
    ['a backslash in the path', 'GET /jobs\\..\\x HTTP/1.1\r\nHost: localhost\r\n\r\n'],
    ['two Hosts', 'GET /health HTTP/1.1\r\nHost: localhost\r\nhost: localhost\r\n\r\n'],
    ['an address of nowhere', 'GET http://[::x/ HTTP/1.1\r\nHost: localhost\r\n\r\n'],
  ])('refuses %s with a problem', async (_, request) => {
    const [answer] = await exchange(request, 1)
    expect(answer).toMatch(/^HTTP\/1\.1 400 /)
    expect(answer).toMatch(/^content-type: application\/problem\+json/im)
    expect(answer).toContain('"code":"malformed_request"')
  })

  it.each([
    ['no HTTP at all', 'hello\r\n\r\n', 400],
    ['a method that is none', 'G\0T / HTTP/1.1\r\nHost: localhost\r\n\r\n', 400],
    ['a space in the path', 'GET /a b HTTP/1.1\r\nHost: localhost\r\n\r\n', 400],
    ['no Host', 'GET /health HTTP/1.1\r\n\r\n', 400],
    ['two lengths', `${post}Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}`, 400],
    [
      'a length and chunks',
      `${post}Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
      400,
    ],
    ['a chunk of no size', `${post}Transfer-Encoding: chunked\r\n\r\nxyz\r\n{}\r\n0\r\n\r\n`, 400],
    ['a header folded', 'GET /health HTTP/1.1\r\nHost: localhost\r\nA: b\r\n c\r\n\r\n', 400],
    ['a flood of headers', `GET /health HTTP/1.1\r\nHost: localhost\r\n${flood(3_000)}\r\n`, 431],
    [
      'one endless header',
      `GET /health HTTP/1.1\r\nHost: localhost\r\nA: ${'x'.repeat(20_000)}\r\n\r\n`,
      431,
    ],
    ['an endless address', `GET /${'x'.repeat(20_000)} HTTP/1.1\r\nHost: localhost\r\n\r\n`, 431],
  ])('refuses %s and is there for the next', async (_, request, status) => {
    const [answer] = await exchange(request, 1)
    expect(answer).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `))
    expect((await service.request('/health')).status).toBe(200)
  })

  it.each([
    ['lists', '['.repeat(30_000) + ']'.repeat(30_000), 422],
    ['objects', `${'{"a":'.repeat(30_000)}1${'}'.repeat(30_000)}`, 422],
    ['lists that do not end', '['.repeat(30_000), 400],
  ])('reads 30,000 %s within each other and refuses them', async (_, body, status) => {
    const response = await service.post(body)
    expect(response.status).toBe(status)
    const inAField = await service.post(`{"prompt":${body},"size":"1280x720"}`)
    expect(inAField.status).toBe(status)
  })

  const chunk = (data: Buffer) =>
    Buffer.concat([Buffer.from(`${data.length.toString(16)}\r\n`), data, Buffer.from('\r\n')])
  const lengthTold = ['Content-Length: 104857600\r\n\r\n', (data: Buffer) => data] as const
  const inChunks = ['Transfer-Encoding: chunked\r\n\r\n', chunk] as const

  it.each([
    ['whose length is told, before any of it is read', ...lengthTold, 0],
    ['in chunks, as soon as there are too many of them', ...inChunks, 256 * 1024],
  ])('refuses 100 MB %s', async (_, header, wrap, maxRead) => {
    const before = memoryMb()
    const { socket, answer } = connect()
    socket.write(`${post}${header}`)
    const sent = await sendUntil(socket, wrap, () => answer().includes('\r\n\r\n'))
    expect(answer()).toMatch(/^HTTP\/1\.1 413 /)
    expect(answer()).toMatch(/^connection: close\r$/im)
    expect(answer()).toContain('"code":"body_too_large"')
    console.log(sent, heldByKernel)
    expect(sent).toBeLessThan(maxRead + heldByKernel)
    socket.destroy()
    expect(memoryMb() - before).toBeLessThan(50)
    expect((await service.request('/health')).status).toBe(200)
  })

  it.each([
    ['whose length is told', ...lengthTold],
    ['in chunks', ...inChunks],
  ])(
    'lets one who does not listen send some of 100 MB %s, and hangs up',
    async (_, header, wrap) => {
      const { socket, answer } = connect()
      socket.write(`${post}${header}`)
      const sent = await sendUntil(socket, wrap, () => false)
      console.log(sent, answer().length)
      expect(sent).toBeLessThan(17_000_000 + heldByKernel)
      expect(answer()).toMatch(/^(HTTP\/1\.1 413 |$)/)
      expect((await service.request('/health')).status).toBe(200)
    },
  )

  it('takes a body byte by byte, each a chunk of its own, across its characters too', async () => {
    const text = JSON.stringify({ prompt: 'ein Füchslein 🦊', size: '1280x720', frames: 5 })
    const bytes = [...Buffer.from(text)].map((byte) =>
      chunk(Buffer.from([byte])).toString('latin1'),
    )
    const head = `${post}Transfer-Encoding: chunked\r\n\r\n`
    const [answer] = await exchange(`${head}${bytes.join('')}0\r\n\r\n`, 1)
    expect(answer).toMatch(/^HTTP\/1\.1 202 /)
    const id = /"id":"([^"]+)"/.exec(answer ?? '')?.[1] ?? ''
    expect(await service.status(id)).toMatchObject({ prompt: 'ein Füchslein 🦊' })
  })

  it('answers what is sent in one go in its order', async () => {
    const paths = ['/health', '/nothing', '/jobs?limit=1', '/status/x', '/openapi.json', '/gpus']
    const requests = paths.map((path) => `GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`)
    const answers = await exchange(requests.join(''), paths.length)
    expect(answers.map((answer) => answer.slice(9, 12))).toEqual([
      '200',
      '404',
      '200',
      '422',
      '200',
      '200',
    ])
  })

  it('takes no second request out of the body of a first', async () => {
    const hidden = 'DELETE /jobs?all=true HTTP/1.1\r\nHost: localhost\r\n\r\n'
    const request = `GET /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${hidden.length}\r\n\r\n${hidden}`
    const answers = await exchange(`${request}GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n`, 2)
    expect(answers.map((answer) => answer.slice(9, 12))).toEqual(['200', '404'])
  })

  it('answers others while hundreds keep it waiting', async () => {
    const slow = Array.from({ length: 300 }, () => connect())
    for (const { socket } of slow) socket.write('GET /health HTTP/1.1\r\nX-')
    expect((await service.request('/health')).status).toBe(200)
    for (const { socket } of slow) socket.destroy()
  })
})

/** Connections on the way to the queue: a follower passes the body on. */
const hops = isFollower ? 2 : 1

/**
 * What counts as sent before anybody has read it: the most that the buffer of a sending socket may
 * grow to, and as much again for the receiving one, which grows only as it is read.
 */
const heldByKernel =
  2 * hops * Number(readFileSync('/proc/sys/net/ipv4/tcp_wmem', 'utf8').trim().split(/\s+/).at(-1))

/** Sends 100 MB piece by piece, as far as it gets. */
async function sendUntil(
  socket: net.Socket,
  wrap: (data: Buffer) => Buffer,
  isEnough: () => boolean,
): Promise<number> {
  const piece = wrap(Buffer.alloc(64 * 1024, 0x20))
  let sent = 0
  while (!socket.destroyed && !isEnough() && sent < 104_857_600) {
    const flushed = new Promise((resolve) => socket.write(piece, resolve))
    sent += piece.length
    await flushed
  }
  return sent
}

function memoryMb(): number {
  const status = readFileSync(`/proc/${service.child.pid}/status`, 'utf8')
  return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024
}

function connect() {
  const socket = net.connect(Number(new URL(service.url).port), '127.0.0.1')
  let text = ''
  socket.setEncoding('latin1').on('data', (data) => {
    text += data
  })
  // To be cut off is an answer too.
  socket.on('error', () => {})
  const closed = new Promise((resolve) => socket.once('close', resolve))
  return { socket, answer: () => text, closed }
}

/** So many answers, or as many as come before the connection is closed. */
async function exchange(request: string, count: number): Promise<string[]> {
  const { socket, answer } = connect()
  socket.write(request, 'latin1')
  const answers = () =>
    answer()
      .split(/(?=HTTP\/1\.1 \d{3} )/)
      .filter(Boolean)
  const isWhole = (text: string) => {
    const [head = '', body = ''] = text.split('\r\n\r\n', 2)
    const length = /^content-length: (\d+)/im.exec(head)?.[1]
    return text.includes('\r\n\r\n') && (length === undefined || body.length >= Number(length))
  }
  await vi.waitUntil(
    () => socket.destroyed || (answers().length >= count && answers().every(isWhole)),
    { timeout: 30_000, interval: 10 },
  )
  socket.destroy()
  return answers()
}
