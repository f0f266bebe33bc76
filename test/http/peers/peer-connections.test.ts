import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { describe, expect, it, onTestFinished } from 'vitest'
import { createPeerConnections } from '../../../src/http/peers/peer-connections.ts'
import { createReach } from '../../../src/http/peers/reach.ts'
import { aDeafServer } from '../../support/cluster/deaf-server.ts'
import { aDeadUrl } from '../../support/cluster/http-nodes.ts'

const limitMs = 300

async function aServerThatTakes(ms: number) {
  const server = createServer((_, response) => void setTimeout(() => response.end(), ms))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  return { port, url: `http://127.0.0.1:${port}` }
}

const peersOf = () => {
  const peers = createPeerConnections({ connectMs: limitMs, checkMs: 100, reachMs: limitMs })
  onTestFinished(peers.close)
  return peers
}

const request = (peers: ReturnType<typeof peersOf>, url: string) =>
  peers.call({ url, method: 'GET', path: '/', headers: ['Host', new URL(url).host] }, (one) =>
    one.end(),
  ).outcome

/** The connection is kept for the next request. */
async function untilRead(outcome: ReturnType<typeof request>): Promise<void> {
  const result = await outcome
  if (result.how !== 'answered') throw new Error(`it was ${result.how}: ${result.error}`)
  const ended = once(result.response.resume(), 'close')
  await ended
}

describe('a request to another node', () => {
  it('on a kept connection is lost when the link of the node is dead', async () => {
    const node = await aDeafServer()
    const peers = peersOf()
    await untilRead(request(peers, node.url))
    await node.isDeaf
    expect(await request(peers, node.url)).toMatchObject({
      how: 'lost',
      error: { message: `no packets reach 127.0.0.1:${node.port}` },
    })
  })

  it('may take long while the node can be reached', async () => {
    const { url } = await aServerThatTakes(1_000)
    expect(await request(peersOf(), url)).toMatchObject({ how: 'answered' })
  })
})

describe('a machine', () => {
  const isReached = (url: string) => {
    const { hostname, port } = new URL(url)
    return createReach({ limitMs })(hostname, Number(port))
  }

  it('is reached when it accepts a connection', async () => {
    expect(await isReached((await aServerThatTakes(0)).url)).toBe(true)
  })

  it('is reached when it refuses a connection', async () => {
    expect(await isReached(await aDeadUrl())).toBe(true)
  })

  it('is not reached when no packets return from it', async () => {
    const node = await aDeafServer()
    await untilRead(request(peersOf(), node.url))
    await node.isDeaf
    expect(await isReached(node.url)).toBe(false)
  })
})
