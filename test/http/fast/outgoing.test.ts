import { createServer, type OutgoingHttpHeaders } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, expect, it } from 'vitest'
import { Outgoing } from '../../../src/http/fast/outgoing.ts'

const servers: ReturnType<typeof createServer>[] = []
afterEach(() => {
  for (const server of servers.splice(0)) server.close()
})

async function answerOf(headers: OutgoingHttpHeaders | undefined, asked: object = {}) {
  const server = createServer({ ServerResponse: Outgoing }, (_, outgoing) => {
    if (headers) outgoing.writeHead(200, headers)
    outgoing.end('{}')
  })
  servers.push(server)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const response = await fetch(`http://127.0.0.1:${port}`, { headers: { ...asked } })
  return Object.fromEntries(response.headers)
}

const ours = /^[0-9a-f]{8}-[0-9a-z]+$/
const policy = "default-src 'none'; frame-ancestors 'none'"

it('says what all answers say, also where a handler says nothing', async () => {
  for (const headers of [undefined, {}, { 'Content-Type': 'application/json' }]) {
    expect(await answerOf(headers)).toMatchObject({
      ...(headers && 'Content-Type' in headers && { 'content-type': 'application/json' }),
      'content-security-policy': policy,
      'x-frame-options': 'DENY',
      'x-request-id': expect.stringMatching(ours),
    })
  }
})

it.each(['Content-Security-Policy', 'content-security-policy'])(
  'says once what a handler says itself, as %s',
  async (name) => {
    const answer = await answerOf({ [name]: "img-src 'self'" })
    expect(answer).toMatchObject({ 'content-security-policy': "img-src 'self'" })
  },
)

it.each([
  ['plain-word_1=', 'plain-word_1='],
  ['two words', undefined],
  ['x'.repeat(256), undefined],
])('calls a request as the client does if that is a plain word: %s', async (asked, called) => {
  const { 'x-request-id': requestId } = await answerOf({}, { 'X-Request-Id': asked })
  if (called) expect(requestId).toBe(called)
  else expect(requestId).toMatch(ours)
})
