/** Receivers that keep a connection open, flood it or break it off: each attempt ends all the same. */
import { createSocket } from 'node:dgram'
import { Resolver } from 'node:dns/promises'
import { once } from 'node:events'
import { describe, expect, it, onTestFinished } from 'vitest'
import {
  type Allowed,
  createAddressGuard,
  parseAllowed,
} from '../../../src/domain/address-guard.ts'
import { newDeliveryId, newSecret } from '../../../src/domain/webhook.ts'
import { createWebhookSender } from '../../../src/infra/webhooks/webhook-sender.ts'
import { type Answer, startHostile, switching } from '../../support/hostile-receiver.ts'

const withinMs = 300

/** Writes a text again and again while the connection is open and takes it. */
const forever =
  (text: string, first = ''): Answer =>
  (socket) => {
    socket.resume()
    const much = text.repeat(Math.ceil(8192 / text.length))
    const more = () => {
      while (!socket.destroyed && socket.write(much));
    }
    socket.write(first)
    socket.on('drain', more)
    more()
  }

/** One byte every few milliseconds: each is a sign of life, and the end never comes. */
const trickle =
  (text: string, first = ''): Answer =>
  (socket) => {
    socket.resume()
    socket.write(first)
    let at = 0
    const beat = setInterval(() => {
      socket.write(text.charAt(at % text.length))
      at += 1
    }, 5)
    socket.on('close', () => clearInterval(beat))
  }

const says =
  (text: string): Answer =>
  (socket) => {
    socket.resume()
    socket.write(text)
  }

const answered = (status: number) => ({ how: 'answered', status })
const failed = (error: RegExp) => ({ how: 'failed', error: expect.stringMatching(error) })
const tooLate = failed(/no complete response within 0\.3 s/)
const tooMuch = failed(/more than 64 KiB/)

function send(url: string, resolver?: Resolver) {
  const sender = createWebhookSender({
    guard: createAddressGuard([parseAllowed('127.0.0.1') as Allowed]),
    userAgent: 'test',
    withinMs,
    ...(resolver && { resolver }),
  })
  return sender.send({ url, id: newDeliveryId(), body: '{"a":1}', keys: [newSecret()] })
}

describe('an attempt ends and leaves no connection when the receiver', () => {
  it.each<[string, Answer, object]>([
    ['switches the protocol', says(switching), answered(101)],
    ['switches the protocol without a header', says('HTTP/1.1 101 Hi\r\n\r\n'), answered(101)],
    ['switches the protocol and floods', forever('x', switching), answered(101)],
    ['reads nothing and says nothing', (socket) => socket.pause(), tooLate],
    ['reads and says nothing', (socket) => socket.resume(), tooLate],
    ['hints forever', forever('HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n'), tooMuch],
    ['continues forever', forever('HTTP/1.1 100 Continue\r\n\r\n'), tooMuch],
    ['processes slowly forever', trickle('HTTP/1.1 102 Processing\r\n\r\n'), tooLate],
    ['trickles its status line', trickle('HTTP/1.1 200 OKOKOKOKOK'), tooLate],
    ['trickles its headers', trickle('a: b\r\n', 'HTTP/1.1 200 OK\r\n'), tooLate],
    ['trickles its body', trickle('x', 'HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n'), tooLate],
    ['sends headers without end', forever('a: b\r\n', 'HTTP/1.1 200 OK\r\n'), failed(/.+/)],
    ['sends one endless header', forever('a', 'HTTP/1.1 200 OK\r\nb: '), failed(/.+/)],
    ['sends a body without end', forever('x', 'HTTP/1.1 200 OK\r\n\r\n'), answered(200)],
    [
      'sends a whole body and keeps the connection',
      says('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'),
      answered(200),
    ],
    [
      'sends a body up to the end of the connection',
      (socket) => void socket.resume().end('HTTP/1.1 200 OK\r\n\r\nok'),
      answered(200),
    ],
    [
      'ends before the end of the body',
      (socket) => void socket.resume().end('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok'),
      failed(/.+/),
    ],
    [
      'resets the connection after its headers',
      (socket) => {
        socket.resume()
        socket.write('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok', () =>
          socket.resetAndDestroy(),
        )
      },
      failed(/.+/),
    ],
    ['hangs up at once', (socket) => void socket.destroy(), failed(/.+/)],
    ['ends without a response', (socket) => void socket.resume().end(), failed(/.+/)],
    ['speaks another protocol', says('SSH-2.0-OpenSSH_9.9\r\n'), failed(/.+/)],
  ])('%s', async (_what, answer, result) => {
    const receiver = await startHostile(answer)
    expect(await send(`http://127.0.0.1:${receiver.port}/`)).toEqual(result)
    await expect.poll(receiver.open).toBe(0)
  })

  it.each<[string, Answer, object]>([
    ['never begins TLS', () => {}, tooLate],
    ['trickles its TLS handshake', trickle('\x16\x03\x03\x3f\xff'), failed(/.+/)],
    ['speaks no TLS', says('HTTP/1.1 200 OK\r\n\r\n'), failed(/.+/)],
  ])('%s', async (_what, answer, result) => {
    const receiver = await startHostile(answer)
    expect(await send(`https://127.0.0.1:${receiver.port}/`)).toEqual(result)
    await expect.poll(receiver.open).toBe(0)
  })

  it('has a name whose name server is silent', async () => {
    const silent = createSocket('udp4').bind(0, '127.0.0.1')
    await once(silent, 'listening')
    const resolver = new Resolver({ timeout: 60_000, tries: 4 })
    resolver.setServers([`127.0.0.1:${silent.address().port}`])
    onTestFinished(() => {
      resolver.cancel()
      silent.close()
    })
    expect(await send('http://hooks.example/', resolver)).toEqual(tooLate)
  })
})
