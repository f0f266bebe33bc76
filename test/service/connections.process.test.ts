/** Connections that are many, greedy or deaf, against the real service. */
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import net from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { type Service, startService } from '../support/service.ts'

describe('a service whose clients do not read', () => {
  it.each([
    ['20 connections that pipeline 1,000 documents each', 20, '/openapi.json', 1_000],
    ['40 lists of 200 jobs with long prompts', 40, '/jobs?limit=200', 1],
    ['40 streams of events of 200 jobs with long prompts', 40, '/events', 1],
  ])('keeps its memory and answers others: %s', async (_, connections, path, requests) => {
    const service = await startService({ env: { GPU_IDS: '0', SIM_SPEED: '0.01' } })
    if (path !== '/openapi.json') await fillQueue(service, 202)
    const before = residentMb(service)
    for (let n = 0; n < connections; n += 1) deaf(service, get(path).repeat(requests))
    const times: number[] = []
    let most = 0
    for (let n = 0; n < 60; n += 1) {
      const begun = performance.now()
      expect((await service.request('/health')).status).toBe(200)
      times.push(performance.now() - begun)
      most = Math.max(most, residentMb(service))
      await delay(50)
    }
    const slowest = times.toSorted((a, b) => a - b).at(-3)
    expect(most - before).toBeLessThan(200)
    expect(slowest).toBeLessThan(2_000)
  })
})

describe('a stream of events', () => {
  it('keeps nothing of the jobs that it began with', async () => {
    const service = await startService({ env: { GPU_IDS: '0', SIM_SPEED: '0.01' } })
    await fillQueue(service, 202)
    const before = residentMb(service)
    for (let n = 0; n < 60; n += 1) {
      const { socket, text } = connect(service)
      socket.write(get('/events'))
      await vi.waitUntil(() => text().includes('"has_more"'), { timeout: 10_000 })
    }
    expect(residentMb(service) - before).toBeLessThan(250)
  })
})

describe('a service without room for more connections', () => {
  /** 64 connections, 32 of one address. */
  const few = { maxFiles: 256, env: { GPU_IDS: '0,1' } }

  it('answers other addresses while one holds as many as it can', async () => {
    const service = await startService(few)
    const greedy = await Promise.all(
      Array.from({ length: 200 }, () => opened(service, get('/events'), '127.0.0.2')),
    )
    expect(greedy.filter(({ destroyed }) => !destroyed).length).toBeLessThanOrEqual(32)
    expect((await service.request('/health')).status).toBe(200)
    expect(service.log('connections closed')[0]).toMatchObject({
      addresses: { '127.0.0.2': expect.any(Number) },
    })
    const metrics = await (await service.request('/metrics')).text()
    expect(metrics).toMatch(/^wan_http_connections_cut_total{reason="(evicted|refused)"} [1-9]/m)
    expect(metrics).toMatch(/^wan_http_connections [1-9]/m)
  })

  it('closes the oldest idle connections for new ones', async () => {
    const service = await startService(few)
    for (let n = 0; n < 300; n += 1)
      await opened(service, get('/health'), `127.0.0.${2 + (n % 10)}`)
    expect((await service.request('/health')).status).toBe(200)
    expect(service.log('connections closed')[0]).toMatchObject({ reason: 'evicted' })
  })

  it('has descriptors left for its jobs', async () => {
    const service = await startService(few)
    for (let n = 0; n < 300; n += 1) void opened(service, get('/events'), `127.0.0.${2 + (n % 4)}`)
    // Streams that are some seconds old make room for an address that has fewer.
    await vi.waitUntil(
      () =>
        service.request('/health').then(
          ({ ok }) => ok,
          () => false,
        ),
      {
        timeout: 15_000,
        interval: 500,
      },
    )
    const ids: string[] = []
    for (let n = 0; n < 8; n += 1) ids.push(await service.submit({ prompt: `fox ${n}` }))
    for (const id of ids)
      expect(await service.until(id)).toMatchObject({ status: 'success', attempt: 1 })
  })

  it('says at its start that few open files are allowed', async () => {
    const service = await startService(few)
    expect(service.lines().filter(({ maxConnections }) => maxConnections === 64)).toHaveLength(1)
  })
})

describe('a service that stops', () => {
  it('cancels no video that a request waits for', async () => {
    const service = await startService()
    const waiting = service.request('/v1/videos/sync', {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ prompt: 'a fox [sim:step=0.2]', size: '1280x720', seconds: '1' }),
    })
    waiting.catch(() => {})
    const jobs = async (of = service) =>
      (await of.json<{ jobs: { id: string; status: string }[] }>('/jobs')).jobs
    await vi.waitUntil(async () => (await jobs())[0]?.status === 'running')
    await service.stop()
    const next = await startService({ dataDir: service.dataDir })
    const [{ id } = { id: '' }] = await jobs(next)
    expect(await next.until(id)).toMatchObject({ status: 'success' })
  })
})

describe('a connection', () => {
  it('serves HTTP/1.0, with and without keep-alive', async () => {
    const service = await startService({ env: { GPU_IDS: '0' } })
    const { socket, text } = connect(service)
    socket.write('GET /health HTTP/1.0\r\nConnection: keep-alive\r\n\r\n')
    await vi.waitUntil(() => text().includes('"version"'))
    socket.write('GET /health HTTP/1.0\r\n\r\n')
    await once(socket, 'close')
    expect(text().match(/HTTP\/1\.1 200/g)).toHaveLength(2)
  })

  it.each([
    ['CONNECT', 'CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n'],
    [
      'an upgrade',
      'GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n',
    ],
    [
      'an expectation',
      'POST /generate HTTP/1.1\r\nHost: localhost\r\nExpect: miracles\r\nContent-Length: 2\r\n\r\n{}',
    ],
    ['a header that never ends', 'GET /health HTTP/1.1\r\nHost: localhost\r\nX-A: '],
    ['nothing', ''],
  ])('of %s does not stay open, or is answered', async (_, request) => {
    const service = await startService({ env: { GPU_IDS: '0' } })
    const { socket, text } = connect(service)
    socket.write(request)
    await vi.waitUntil(() => socket.destroyed || text().includes('HTTP/1.1'), { timeout: 15_000 })
    expect((await service.request('/health')).status).toBe(200)
  })
})

const get = (path: string) => `GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`

function connect(service: Service, localAddress = '127.0.0.1') {
  const port = Number(new URL(service.url).port)
  const socket = net.connect({ port, host: '127.0.0.1', localAddress })
  let text = ''
  socket.setEncoding('latin1').on('data', (data) => {
    text += data
  })
  socket.on('error', () => {})
  onTestFinished(() => void socket.destroy())
  return { socket, text: () => text }
}

/** Resolves when the request has been answered, at least in part, or the connection was refused. */
async function opened(service: Service, request: string, localAddress: string) {
  const { socket } = connect(service, localAddress)
  socket.write(request)
  await new Promise((resolve) => socket.once('data', resolve).once('close', resolve))
  return socket
}

/** Sends, and never reads. */
function deaf(service: Service, requests: string): void {
  const socket = net.connect(Number(new URL(service.url).port), '127.0.0.1')
  socket.on('error', () => {})
  socket.pause()
  socket.write(requests)
  onTestFinished(() => void socket.destroy())
}

async function fillQueue(service: Service, count: number): Promise<void> {
  const prompt = 'ä'.repeat(31_000)
  for (let n = 0; n < count; n += 1) await service.submit({ prompt: `${n} ${prompt}` })
}

function residentMb(service: Service): number {
  const status = readFileSync(`/proc/${service.child.pid}/status`, 'utf8')
  return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1_024
}
