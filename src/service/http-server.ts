/** Node's HTTP server in front of the app: limits, listening, closing. */
import { createServer, type Server } from 'node:http'
import {
  type AddressInfo,
  createServer as createNetServer,
  type Server as NetServer,
} from 'node:net'
import { getRequestListener } from '@hono/node-server'
// Made of the global Response, which the first listener replaces: answers that are sent already would be sent twice.
import '@hono/node-server/utils/response'
import {
  type Connections,
  type ConnectionsOptions,
  guardConnections,
} from '../http/connections/connections.ts'
import { Outgoing } from '../http/fast/outgoing.ts'
import type { Answering } from '../http/forwarding/node-routes.ts'
import { refuseUnreadable } from '../http/response/problem.ts'

/** Node's own defaults let a slow client hold a connection for minutes (facts: HTTP abuse). */
const serverOptions = {
  headersTimeout: 5_000,
  // An image of 20 MiB has to get through a slow line.
  requestTimeout: 120_000,
  // Longer than proxies keep idle connections, usually a minute: none may send into one just closed.
  keepAliveTimeout: 75_000,
  connectionsCheckingInterval: 1_000,
  // Peers that are gone without a word, behind a router that was switched off, are found by the kernel.
  keepAlive: true,
  keepAliveInitialDelay: 60_000,
  // Refused by the app, as a request that counts: Node would answer thousands of them in one go.
  requireHostHeader: false,
  ServerResponse: Outgoing,
} as const

/**
 * Connections that wait to be accepted while the service is busy. Beyond, the kernel drops what others send to open
 * theirs, and they try again after 1, 3 and 7 seconds. It allows no more than this by default (`net.core.somaxconn`).
 */
const backlog = 4_096

/** Time that open requests have to end before the service closes their connections. */
const goodbyeMs = 1_000

export type HttpServer = Readonly<{
  url: string
  /** IP address that the server listens on. */
  address: string
  /** Resolves when no connection is left. */
  close(): Promise<void>
}>

export type Address = Readonly<{ host: string; port: number }>

/** Resolves when requests are accepted; rejects when the port or the address cannot be used. */
export async function listen(
  app: Answering,
  { host, port, ...guarding }: Address & ConnectionsOptions,
): Promise<HttpServer> {
  // This server has no HTTP/2, whose requests are in the library's type.
  const fetch = app.fetch as Parameters<typeof getRequestListener>[0]
  const listener = getRequestListener(fetch, { hostname: host, errorHandler: refuseUnreadable })
  const server = createServer(serverOptions)
  const connections = guardConnections(server, guarding)
  server.on('request', listener)
  await startListening(server, { host, port })
  const { address, port: actualPort } = server.address() as AddressInfo
  const url = `http://${address.includes(':') ? `[${address}]` : address}:${actualPort}`
  return { url, address, close: () => close(server, connections) }
}

/** Rejects as `listen` does when the address cannot be used now. */
export async function tryAddress(at: Address): Promise<void> {
  const server = createNetServer()
  await startListening(server, at)
  await new Promise((resolve) => server.close(resolve))
}

const startListening = (server: NetServer, { host, port }: Address): Promise<void> =>
  new Promise<void>((resolve, reject) => {
    const refuse = (cause: Error) =>
      reject(
        new Error(`The address cannot be used (${cause.message}); set HOST or PORT to another.`, {
          cause,
        }),
      )
    server.once('error', refuse)
    server.listen({ port, host, backlog }, () => {
      server.off('error', refuse)
      resolve()
    })
  })

async function close(
  server: Pick<Server, 'closeIdleConnections' | 'closeAllConnections'> & {
    close(then: () => void): unknown
  },
  connections: Connections,
): Promise<void> {
  connections.startClosing()
  const closed = new Promise<void>((resolve) => server.close(resolve))
  // A connection that was busy a moment ago is idle in a moment.
  const idle = setInterval(() => server.closeIdleConnections(), 50)
  const overdue = setTimeout(() => server.closeAllConnections(), goodbyeMs)
  await closed
  clearInterval(idle)
  clearTimeout(overdue)
}
