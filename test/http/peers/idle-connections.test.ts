import { once } from 'node:events'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { describe, expect, it, onTestFinished } from 'vitest'
import { createPeerConnections } from '../../../src/http/peers/peer-connections.ts'

/** Another node, which keeps idle connections for longer than the test takes. */
async function aPeer() {
  const held = Promise.withResolvers<ServerResponse>()
  const ends: Promise<unknown>[] = []
  const server = createServer({ keepAliveTimeout: 60_000 }, (request, response) => {
    if (request.url === '/held') held.resolve(response)
    else response.end('done')
  })
  server.on('connection', (socket: Socket) => ends.push(once(socket, 'end')))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  return { url: `http://127.0.0.1:${port}`, held: held.promise, ends }
}

function call(connections: ReturnType<typeof createPeerConnections>, url: string, path: string) {
  const headers = ['Host', new URL(url).host]
  return connections.call({ url, method: 'POST', path, headers }, (request) => request.end())
}

describe('a connection to another node', () => {
  it('is closed on this side when it was idle for a while, so that no request meets its end', async () => {
    const { url, ends } = await aPeer()
    const connections = createPeerConnections({ idleMs: 50 })
    onTestFinished(connections.close)
    const outcome = await call(connections, url, '/').outcome
    if (outcome.how === 'answered') outcome.response.resume()
    expect(outcome.how).toBe('answered')
    await ends[0]
  })

  it('is not closed while its request takes longer than that', async () => {
    const { url, held, ends } = await aPeer()
    const connections = createPeerConnections({ idleMs: 50 })
    onTestFinished(connections.close)
    const long = call(connections, url, '/held')
    const response = await held
    const short = await call(connections, url, '/').outcome
    if (short.how === 'answered') short.response.resume()
    // The other connection was idle for so long.
    await ends[1]
    response.end('late')
    expect(await long.outcome).toMatchObject({ how: 'answered' })
  })
})
