/** Real servers on loopback: a follower in front of leaders that behave in every way. */
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { request as httpRequest, type IncomingMessage, type ServerResponse } from 'node:http'
import net from 'node:net'
import { buffer, text } from 'node:stream/consumers'
import { setTimeout as delay } from 'node:timers/promises'
import { describe, expect, it, vi } from 'vitest'
import {
  aDeadUrl,
  aFollower,
  anElection,
  aPlainLeader,
  clusterSecret,
} from '../../support/cluster/http-nodes.ts'

type Seen = Readonly<{
  method: string
  url: string
  headers: IncomingMessage['headers']
  body: string
}>

/** A follower of a leader that answers so. */
async function aPair(answer: (request: IncomingMessage, response: ServerResponse) => void) {
  const leader = await aPlainLeader(answer)
  const election = anElection(leader)
  return { leader, election, follower: await aFollower(election) }
}

/** A leader that notes each request with its body, and answers it. */
async function aNotingLeader(status = 200, headers: Record<string, string> = {}) {
  const seen: Seen[] = []
  const leader = await aPlainLeader(async (request, response) => {
    const { method = '', url = '' } = request
    seen.push({ method, url, headers: request.headers, body: await text(request) })
    response.writeHead(status, headers).end('done')
  })
  return { ...leader, seen }
}

const notLeading = () => aNotingLeader(503, { 'wan-not-leader': '1' })

const post = (url: string, body: RequestInit['body'] = 'a body') =>
  fetch(`${url}/generate`, { method: 'POST', body })

/** Sends text over a socket of its own, and resolves with all that came until the end, and how that was. */
async function raw(url: string, message: string) {
  const socket = net.connect(Number(new URL(url).port), '127.0.0.1')
  let received = ''
  let error: string | undefined
  socket.setEncoding('latin1').on('data', (piece) => {
    received += piece
  })
  socket.on('error', ({ message: why }) => {
    error = why
  })
  const closed = new Promise((resolve) => socket.once('close', resolve))
  socket.write(message)
  await closed
  return { received, error }
}

describe('a request through a follower', () => {
  it('reaches the leader with its method, path, headers and body', async () => {
    const leader = await aNotingLeader()
    const follower = await aFollower(anElection(leader))
    const response = await fetch(`${follower.url}/a%2Fb?c=d&e`, {
      method: 'POST',
      headers: { Authorization: 'Bearer t', 'Idempotency-Key': 'k', 'X-Request-Id': 'mine' },
      body: 'a body',
    })
    expect(await response.text()).toBe('done')
    const [seen] = leader.seen
    expect(seen).toMatchObject({
      ...{ method: 'POST', url: '/a%2Fb?c=d&e', body: 'a body' },
      headers: {
        ...{ authorization: 'Bearer t', 'idempotency-key': 'k', 'x-request-id': 'mine' },
        ...{ host: new URL(follower.url).host, 'content-length': '6' },
        'wan-client-address': '127.0.0.1',
      },
    })
  })

  it('has no header of its connection, and none that passes for one of a node', async () => {
    const leader = await aNotingLeader()
    const follower = await aFollower(anElection(leader))
    await raw(
      follower.url,
      [
        ...[
          'GET / HTTP/1.1',
          'Host: localhost',
          'Connection: close, X-Hop',
          'X-Hop: 1',
          'TE: trailers',
        ],
        ...['Upgrade: websocket', 'Wan-Client-Address: 192.0.2.1', 'Wan-Node-Key: forged'],
        ...['Wan-Forward-Key: forged', 'X-Stays: 1', 'X-Stays: 2', '', ''],
      ].join('\r\n'),
    )
    const headers = leader.seen[0]?.headers ?? {}
    expect(headers).toMatchObject({ 'wan-client-address': '127.0.0.1', 'x-stays': '1, 2' })
    expect(headers['wan-forward-key']).not.toContain('forged')
    for (const name of ['x-hop', 'te', 'upgrade', 'wan-node-key'])
      expect(headers).not.toHaveProperty(name)
    expect(headers.connection).toBe('keep-alive')
  })

  it('has the length that its client gave, or none', async () => {
    const leader = await aNotingLeader()
    const follower = await aFollower(anElection(leader))
    const send = (head: string, body: string) =>
      raw(follower.url, `${head} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n${body}`)
    await send('DELETE /jobs', 'Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n')
    await send('POST /jobs', 'Content-Length: 3\r\n\r\nabc')
    await send('POST /jobs', '\r\n')
    await send('GET /jobs', '\r\n')
    expect(leader.seen.map(({ body }) => body)).toEqual(['abc', 'abc', '', ''])
    const lengths = leader.seen.map(({ headers }) => headers['content-length'])
    expect(lengths).toEqual([undefined, '3', '0', undefined])
  })

  it('does not show the secret of the cluster to the leader, to the client or in the log', async () => {
    const leader = await aNotingLeader(200, { 'Wan-Forward-Key': 'x' })
    const election = anElection(leader)
    const follower = await aFollower(election, { waitMs: 200 })
    const response = await fetch(follower.url)
    election.elect({ url: await aDeadUrl() })
    const refused = await fetch(follower.url)
    expect(refused.status).toBe(503)
    const key = String(leader.seen[0]?.headers['wan-forward-key'])
    const told = [...response.headers, ...refused.headers].join() + (await refused.text())
    expect(key.length).toBeGreaterThan(40)
    expect(JSON.stringify(leader.seen)).not.toContain(clusterSecret)
    expect(told).not.toContain('wan-forward-key')
    expect(follower.lines).not.toEqual([])
    for (const secret of [clusterSecret, key]) {
      expect(told).not.toContain(secret)
      expect(JSON.stringify(follower.lines)).not.toContain(secret)
    }
  })
})

describe('a response through a follower', () => {
  it('keeps its status, length, range and repeated headers', async () => {
    const { follower } = await aPair((_, response) => {
      response.writeHead(206, [
        ...['Content-Range', 'bytes 0-3/9', 'Content-Length', '4', 'Link', '<a>', 'Link', '<b>'],
        ...['Set-Cookie', 'a=1', 'Set-Cookie', 'b=2', 'Content-Type', 'video/mp4'],
      ])
      response.end('part')
    })
    const { received } = await raw(
      follower.url,
      'GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n',
    )
    const lines = received.toLowerCase().split('\r\n')
    expect(lines[0]).toBe('http/1.1 206 partial content')
    for (const line of [
      ...['content-range: bytes 0-3/9', 'content-length: 4', 'link: <a>', 'link: <b>'],
      ...['set-cookie: a=1', 'set-cookie: b=2', 'content-type: video/mp4'],
    ])
      expect(lines).toContain(line)
    expect(lines).not.toContain('transfer-encoding: chunked')
    expect(lines.at(-1)).toBe('part')
  })

  it.each([
    ['to HEAD', 'HEAD', 200, { 'Content-Length': '1000' }],
    ['that says nothing has changed', 'GET', 304, { ETag: '"a"' }],
    ['without content', 'DELETE', 204, {}],
  ])('%s has no body, and the connection can be used again', async (_, method, status, headers) => {
    const { follower } = await aPair(
      (_request, response) => void response.writeHead(status, headers).end(),
    )
    const message = `${method} / HTTP/1.1\r\nHost: x\r\n`
    const { received } = await raw(
      follower.url,
      `${message}\r\n${message}Connection: close\r\n\r\n`,
    )
    const heads = received.split('\r\n\r\n')
    expect(heads).toHaveLength(3)
    expect(heads[2]).toBe('')
    for (const head of heads.slice(0, 2)) expect(head).toContain(`HTTP/1.1 ${status}`)
    if ('Content-Length' in headers)
      expect(heads[0]?.toLowerCase()).toContain('content-length: 1000')
  })

  it('arrives event by event, while it goes on', async () => {
    let next = () => {}
    const { follower } = await aPair((_, response) => {
      response.writeHead(200, { 'Content-Type': 'text/event-stream' })
      response.flushHeaders()
      let count = 0
      next = () => void response.write(`data: ${++count}\n\n`)
    })
    const response = await fetch(`${follower.url}/events`)
    const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader()
    for (const count of [1, 2, 3]) {
      next()
      expect((await reader?.read())?.value).toBe(`data: ${count}\n\n`)
    }
    await reader?.cancel()
  })

  it('is read from the leader no faster than the client reads it', async () => {
    let sent = 0
    const piece = Buffer.alloc(1024 * 1024)
    const { follower } = await aPair((_, response) => {
      response.writeHead(200)
      const write = () => {
        sent += piece.length
        if (sent < 500e6) response.write(piece, write)
      }
      write()
    })
    const socket = net.connect(Number(new URL(follower.url).port), '127.0.0.1')
    socket.pause().write('GET / HTTP/1.1\r\nHost: x\r\n\r\n')
    let before = -1
    await vi.waitUntil(
      () => {
        const stands = sent > 0 && sent === before
        before = sent
        return stands
      },
      { interval: 200, timeout: 10_000 },
    )
    expect(sent).toBeLessThan(100e6)
    socket.destroy()
  })

  it.each([
    ['with a length', '1.1', { 'Content-Length': '1000' }],
    ['in chunks', '1.1', {}],
    ['to a client of HTTP/1.0', '1.0', {}],
  ])('that breaks off %s does not look complete', async (_, version, headers) => {
    const { follower } = await aPair((_request, response) => {
      response.writeHead(200, headers)
      response.write('begin', () => response.destroy())
    })
    const { received, error } = await raw(
      follower.url,
      `GET / HTTP/${version}\r\nHost: x\r\nConnection: close\r\n\r\n`,
    )
    if (version === '1.0') expect(error).toContain('ECONNRESET')
    else if (!('Content-Length' in headers)) expect(received).not.toContain('0\r\n\r\n')
    else expect(received.split('\r\n\r\n')[1]?.length ?? 0).toBeLessThan(1000)
  })

  /** Sends a MiB slowly, and reads nothing before it has sent all. */
  async function sendSlowly(url: string): Promise<string> {
    const socket = net.connect(Number(new URL(url).port), '127.0.0.1').pause()
    socket.on('error', () => {})
    const pieces = 64
    const length = pieces * 16 * 1024
    socket.write(`POST / HTTP/1.1\r\nHost: x\r\nContent-Length: ${length}\r\n\r\n`)
    for (let n = 0; n < pieces; n += 1) {
      socket.write(Buffer.alloc(16 * 1024))
      await delay(15)
    }
    let received = ''
    socket.setEncoding('latin1').on('data', (piece) => {
      received += piece
    })
    socket.resume()
    await vi.waitUntil(() => received !== '' || socket.destroyed, { timeout: 5_000 })
    socket.destroy()
    return received
  }

  it('that refuses an upload halfway is read by a client that sends on', async () => {
    const { follower } = await aPair((request, response) => {
      request.once('data', () => {
        response.writeHead(413, { 'Content-Length': '9', Connection: 'close' }).write('too large')
      })
      request.once('end', () => response.end())
    })
    expect(await sendSlowly(follower.url)).toMatch(/^HTTP\/1\.1 413 /)
  })

  it('of the follower itself is read by a client that sends on', async () => {
    const follower = await aFollower(anElection(), { waitMs: 50 })
    expect(await sendSlowly(follower.url)).toMatch(/^HTTP\/1\.1 503 /)
  })
})

describe('an upload through a follower', () => {
  it('of 20 MiB arrives as it was sent, before its end has been sent', async () => {
    const begun = Promise.withResolvers<void>()
    const { follower } = await aPair(async (request, response) => {
      request.once('readable', begun.resolve)
      response.end(
        createHash('sha256')
          .update(await buffer(request))
          .digest('hex'),
      )
    })
    const bytes = randomBytes(20 * 1024 * 1024)
    const half = bytes.length / 2
    const request = httpRequest(`${follower.url}/generate`, {
      method: 'POST',
      headers: { 'Content-Length': bytes.length, Expect: '100-continue' },
    })
    await once(request, 'continue')
    request.write(bytes.subarray(0, half))
    await begun.promise
    request.end(bytes.subarray(half))
    const [response] = (await once(request, 'response')) as [IncomingMessage]
    expect(await text(response)).toBe(createHash('sha256').update(bytes).digest('hex'))
  })
})

describe('a client that hangs up', () => {
  it.each([
    ['before the response', () => {}],
    ['during the response', (response: ServerResponse) => void response.write('a')],
  ])('%s hangs up on the leader too', async (_, answer) => {
    let isClosed = false
    let isThere = false
    const { follower } = await aPair((_request, response) => {
      isThere = true
      answer(response)
      response.once('close', () => {
        isClosed = true
      })
    })
    const socket = net.connect(Number(new URL(follower.url).port), '127.0.0.1')
    socket.write('GET /status/1 HTTP/1.1\r\nHost: x\r\n\r\n')
    await vi.waitUntil(() => isThere)
    socket.destroy()
    await vi.waitUntil(() => isClosed)
    // The leader has lost nothing, and can be reached.
    expect(follower.lines).toEqual([])
  })

  it('during an upload breaks it off at the leader', async () => {
    const seen: string[] = []
    const { follower } = await aPair((request) => {
      request.on('data', () => seen.push('data')).on('error', () => seen.push('error'))
    })
    const socket = net.connect(Number(new URL(follower.url).port), '127.0.0.1')
    socket.write('POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\npart')
    await vi.waitUntil(() => seen.length > 0)
    socket.destroy()
    await vi.waitUntil(() => seen.includes('error'))
  })

  it('is not waited for while there is no leader', async () => {
    const election = anElection()
    const follower = await aFollower(election)
    const socket = net.connect(Number(new URL(follower.url).port), '127.0.0.1')
    socket.write('POST /generate HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na')
    await once(socket, 'connect')
    socket.destroy()
    await follower.close()
    const leader = await aNotingLeader()
    election.elect(leader)
    expect(leader.seen).toEqual([])
  })
})

describe('without a leader', () => {
  it('a request waits for one', async () => {
    const election = anElection()
    const follower = await aFollower(election, { waitMs: 600_000 })
    const response = post(follower.url)
    const leader = await aNotingLeader()
    election.elect(leader)
    expect(await (await response).text()).toBe('done')
    expect(leader.seen[0]?.body).toBe('a body')
  })

  it.each([
    ['of the API', '/generate', { code: 'no_leader', status: 503 }],
    ['of an OpenAI client', '/v1/videos', { error: { code: 'no_leader' } }],
  ])('a request %s is refused in time', async (_, path, body) => {
    const follower = await aFollower(anElection(), { waitMs: 100 })
    const response = await fetch(`${follower.url}${path}`, { method: 'POST', body: 'x' })
    expect(response.status).toBe(503)
    expect(response.headers.get('Retry-After')).toBe('2')
    const told = await response.text()
    expect(JSON.parse(told)).toMatchObject(body)
    expect(told).toContain('Nothing was changed')
  })

  it('a request that could not be sent goes to the next leader, whole', async () => {
    const election = anElection({ url: await aDeadUrl() })
    const follower = await aFollower(election)
    const large = randomBytes(1024 * 1024).toString('hex')
    const response = post(follower.url, large)
    await vi.waitUntil(() => follower.lines.length > 0)
    const leader = await aNotingLeader()
    election.elect(leader)
    expect((await response).status).toBe(200)
    expect(leader.seen[0]?.body).toBe(large)
    expect(follower.lines).toMatchObject([{ how: 'unsent' }, { leader: leader.url }])
  })

  it('a leader that cannot be reached is none', async () => {
    const url = await aDeadUrl()
    const follower = await aFollower(anElection({ url }), { waitMs: 300 })
    const response = await post(follower.url)
    const told = await response.text()
    expect(JSON.parse(told)).toMatchObject({ code: 'no_leader', status: 503 })
    expect(told).not.toContain(new URL(url).port)
  })

  it('a node that does not lead is asked, and then the next leader', async () => {
    const [former, next] = [await notLeading(), await aNotingLeader()]
    const election = anElection(former)
    const follower = await aFollower(election)
    const response = post(follower.url)
    await vi.waitUntil(() => former.seen.length > 0)
    election.elect(next)
    expect((await response).status).toBe(200)
    expect(next.seen).toMatchObject([{ body: 'a body' }])
  })

  it('two followers that take each other for the leader do not send a request round', async () => {
    const elections = [anElection(), anElection()] as const
    const [one, other] = [
      await aFollower(elections[0], { waitMs: 300 }),
      await aFollower(elections[1], { waitMs: 300 }),
    ]
    elections[0].elect(other)
    elections[1].elect(one)
    const response = await post(one.url)
    expect(await response.json()).toMatchObject({ code: 'no_leader' })
    expect(response.headers.has('Wan-Not-Leader')).toBe(false)
    expect(other.lines).toEqual([])
  })
})

describe('a leader that dies', () => {
  /** Reads the request, and dies instead of answering. */
  const aDyingLeader = async () => {
    const seen: string[] = []
    const leader = await aPlainLeader((request) => {
      request.resume().once('end', () => {
        seen.push(`${request.method}`)
        request.socket.destroy()
      })
    })
    return { ...leader, seen }
  }

  it('leaves a POST in doubt, which is not sent again', async () => {
    const [first, second] = [await aDyingLeader(), await aNotingLeader()]
    const election = anElection(first)
    const follower = await aFollower(election)
    const response = await post(follower.url)
    expect(response.status).toBe(503)
    expect(response.headers.get('Retry-After')).toBe('2')
    const problem = (await response.json()) as { code: string; detail: string }
    expect(problem.code).toBe('leader_lost')
    expect(problem.detail).toContain('unknown whether the request was carried out')
    expect(problem.detail).toContain('Idempotency-Key')
    election.elect(second)
    expect(first.seen).toEqual(['POST'])
    expect(second.seen).toEqual([])
  })

  it.each(['GET', 'HEAD'])('has %s repeated at the next one', async (method) => {
    const [first, second] = [await aDyingLeader(), await aNotingLeader()]
    const election = anElection(first)
    const follower = await aFollower(election)
    const response = fetch(`${follower.url}/status/1`, { method })
    await vi.waitUntil(() => first.seen.length > 0)
    election.elect(second)
    expect((await response).status).toBe(200)
    expect(first.seen).toEqual([method])
    expect(second.seen).toMatchObject([{ method }])
  })

  it('has GET repeated once, and no more', async () => {
    const leader = await aDyingLeader()
    const follower = await aFollower(anElection(leader))
    const response = await fetch(follower.url)
    expect(await response.json()).toMatchObject({ code: 'leader_lost' })
    expect(leader.seen).toEqual(['GET', 'GET'])
  })

  it('without a word is given up when another node leads', async () => {
    const seen: string[] = []
    const silent = await aPlainLeader((request, response) => {
      seen.push(`${request.url}`)
      if (request.url === '/events') response.writeHead(200).flushHeaders()
    })
    const next = await aNotingLeader()
    const election = anElection({ ...silent, term: 1 })
    const follower = await aFollower(election)
    const posted = post(follower.url)
    const asked = fetch(`${follower.url}/status/1`)
    const stream = await fetch(`${follower.url}/events`)
    await vi.waitUntil(() => seen.length === 3)
    election.elect({ ...next, term: 2 })
    expect(await (await posted).json()).toMatchObject({ code: 'leader_lost' })
    expect(await (await asked).text()).toBe('done')
    await expect(stream.text()).rejects.toThrow()
  })

  it('may end its responses in time when another node leads', async () => {
    let end = () => {}
    const leader = await aPlainLeader((_, response) => {
      end = () => void response.end('late')
    })
    const election = anElection({ ...leader, term: 1 })
    const follower = await aFollower(election, { graceMs: 5_000 })
    const response = post(follower.url)
    await vi.waitUntil(() => end.name !== '' && end.toString().includes('late'))
    election.elect({ url: await aDeadUrl(), term: 2 })
    end()
    expect(await (await response).text()).toBe('late')
  })
})
