import { once } from 'node:events'
import net from 'node:net'
import { Webhook as Verifier } from 'standardwebhooks'
import { describe, expect, it, onTestFinished } from 'vitest'
import {
  type Allowed,
  createAddressGuard,
  parseAllowed,
} from '../../../src/domain/address-guard.ts'
import { type DeliveryId, newDeliveryId, newSecret } from '../../../src/domain/webhook.ts'
import {
  createWebhookSender,
  type WebhookSenderOptions,
} from '../../../src/infra/webhooks/webhook-sender.ts'
import { startNameServer } from '../../support/name-server.ts'
import { startReceiver } from '../../support/receiver.ts'

const aSender = (allowed: string, options: Partial<WebhookSenderOptions> = {}) =>
  createWebhookSender({
    guard: createAddressGuard(
      allowed
        .split(',')
        .filter(Boolean)
        .map((one) => parseAllowed(one) as Allowed),
    ),
    userAgent: 'test',
    ...options,
  })

const aMessage = (url: string, keys: readonly string[] = [newSecret()], id = newDeliveryId()) => ({
  url,
  id,
  keys,
  body: '{"type":"job.success"}',
})

describe('a message', () => {
  it('is signed with every key, under the id of its delivery', async () => {
    const receiver = await startReceiver()
    const keys = [newSecret(), newSecret()]
    const id: DeliveryId = newDeliveryId()
    const result = await aSender('127.0.0.1').send(aMessage(receiver.url, keys, id))
    expect(result).toEqual({ how: 'answered', status: 200 })
    const [{ headers, body } = { headers: {}, body: '' }] = receiver.received
    expect(headers).toMatchObject({ 'webhook-id': id, 'content-type': 'application/json' })
    for (const key of keys) expect(new Verifier(key).verify(body, headers)).toBeDefined()
    expect(() => new Verifier(newSecret()).verify(body, headers)).toThrow()
  })

  it.each([
    ['7', 7_000],
    [new Date(Date.now() + 3_600_000).toUTCString(), 3_600_000],
    ['soon', undefined],
    ['-5', undefined],
  ])('may be asked for later with Retry-After: %s', async (header, ms) => {
    const receiver = await startReceiver({
      answer: (_, response) => void response.writeHead(503, { 'Retry-After': header }).end(),
    })
    const result = await aSender('127.0.0.1').send(aMessage(receiver.url))
    expect(result).toMatchObject({ how: 'answered', status: 503 })
    const { retryAfterMs } = result as { retryAfterMs?: number }
    if (ms === undefined) expect(retryAfterMs ?? 0).toBe(0)
    else expect(Math.abs((retryAfterMs ?? 0) - ms)).toBeLessThan(30_000)
  })

  it('follows no redirect', async () => {
    const elsewhere = await startReceiver()
    const receiver = await startReceiver({
      answer: (_, response) => void response.writeHead(307, { Location: elsewhere.url }).end(),
    })
    const result = await aSender('127.0.0.1').send(aMessage(receiver.url))
    expect(result).toEqual({ how: 'answered', status: 307 })
    expect(elsewhere.received).toEqual([])
  })

  it('is not waited for longer than it may take, however the receiver dawdles', async () => {
    const beats = new Set<NodeJS.Timeout>()
    onTestFinished(() => beats.forEach(clearInterval))
    const receiver = await startReceiver({
      answer(_, response) {
        response.writeHead(200)
        beats.add(setInterval(() => response.write('.'), 20))
      },
    })
    const silent = await startReceiver({ answer: () => {} })
    const sender = aSender('127.0.0.1', { withinMs: 100 })
    for (const { url } of [receiver, silent]) {
      expect(await sender.send(aMessage(url))).toMatchObject({
        how: 'failed',
        error: expect.stringContaining('0.1 s'),
      })
    }
  })

  it('does not have an endless answer read to its end', async () => {
    let sent = 0
    const receiver = await startReceiver({
      answer(_, response) {
        const more = () => {
          while (!response.destroyed && response.write(Buffer.alloc(65_536))) sent += 65_536
        }
        response.on('drain', more)
        more()
      },
    })
    const result = await aSender('127.0.0.1').send(aMessage(receiver.url))
    expect(result).toEqual({ how: 'answered', status: 200 })
    expect(sent).toBeLessThan(64 * 1024 ** 2)
  })

  it.each([
    ['hangs up', (socket: net.Socket) => socket.destroy()],
    ['speaks another protocol', (socket: net.Socket) => void socket.end('220 mail ready\r\n')],
  ])('has failed when the receiver %s', async (_what, greet) => {
    const server = net.createServer((socket) => {
      socket.on('error', () => {})
      greet(socket)
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    onTestFinished(() => void server.close())
    const { port } = server.address() as net.AddressInfo
    const result = await aSender('127.0.0.1').send(aMessage(`http://127.0.0.1:${port}/`))
    expect(result).toMatchObject({ how: 'failed', error: expect.any(String) })
  })
})

describe('a name', () => {
  it('that leads to a private address is not followed', async () => {
    const receiver = await startReceiver()
    const resolver = await startNameServer('127.0.0.1')
    const sender = aSender('', { resolver })
    const result = await sender.send(aMessage(`http://hooks.example:${receiver.port}/`))
    expect(result).toMatchObject({ how: 'failed', error: expect.stringContaining('127.0.0.1') })
    expect(receiver.received).toEqual([])
  })

  it('is asked for once, and the connection goes to the address that was checked', async () => {
    const good = await startReceiver({ host: '127.0.0.2' })
    const evil = await startReceiver({ host: '127.0.0.1', port: good.port })
    // First the address that passes, and from the second question on another one.
    const resolver = await startNameServer('127.0.0.2', '127.0.0.1')
    const sender = aSender('127.0.0.2', { resolver })
    const message = aMessage(`http://hooks.example:${good.port}/`)
    expect(await sender.send(message)).toEqual({ how: 'answered', status: 200 })
    expect(await sender.send(message)).toMatchObject({ how: 'failed' })
    expect([good.received.length, evil.received.length]).toEqual([1, 0])
  })

  it('that nobody knows is a failure', async () => {
    const resolver = await startNameServer('')
    const result = await aSender('', { resolver }).send(aMessage('http://hooks.example/'))
    expect(result).toMatchObject({ how: 'failed', error: expect.stringContaining('hooks.example') })
  })

  it('that is vouched for is looked up as the system does', async () => {
    const receiver = await startReceiver()
    const result = await aSender('localhost').send(aMessage(`http://localhost:${receiver.port}/`))
    expect(result).toEqual({ how: 'answered', status: 200 })
  })
})

it('sends nothing to an address that was allowed once', async () => {
  const receiver = await startReceiver()
  const result = await aSender('').send(aMessage(receiver.url))
  expect(result).toMatchObject({ how: 'failed', error: expect.stringContaining('127.0.0.1') })
  expect(receiver.received).toEqual([])
})
