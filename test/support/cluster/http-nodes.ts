/** Nodes of a cluster as HTTP servers in this process: followers as they are, leaders as a test wants them. */
import { once } from 'node:events'
import { createServer, type RequestListener, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { onTestFinished } from 'vitest'
import type { FilesForNodesOptions } from '../../../src/http/forwarding/files-for-nodes.ts'
import {
  createFollowerApp,
  type FollowerAppOptions,
} from '../../../src/http/forwarding/follower-app.ts'
import type { Leader } from '../../../src/http/forwarding/leader-watch.ts'
import { type Answering, answerNodes } from '../../../src/http/forwarding/node-routes.ts'
import { createPeers } from '../../../src/http/peers/peers.ts'
import { type HttpServer, listen } from '../../../src/service/http-server.ts'

export const clusterSecret = 'a secret of this test'

export type TestLog = ReturnType<typeof aLog>

export function aLog() {
  const lines: unknown[] = []
  const write = (fields: object, phrase: string) => void lines.push({ ...fields, phrase })
  return { lines, log: { debug: write, info: write, warn: write, error: write } }
}

/** The leader that all nodes of a test know of. */
export function anElection(first?: Leader) {
  let leader = first
  const listeners = new Set<() => void>()
  return {
    leader: () => leader,
    onLeaderChange(listener: () => void) {
      listeners.add(listener)
      return () => void listeners.delete(listener)
    },
    elect(next: Leader | undefined) {
      leader = next
      for (const listener of [...listeners]) listener()
    },
  }
}

/** What `listen` makes of an app, with limits that no test reaches. */
export async function serve(app: Answering, more: object = {}): Promise<HttpServer> {
  const server = await listen(app, {
    ...{ host: '127.0.0.1', port: 0 },
    limits: { maxConnections: 100, maxPerAddress: 100, maxStallMs: 60_000, maxHeldBytes: 1e8 },
    memory: { isShort: () => false },
    observe: () => {},
    log: { warn: () => {} },
    ...more,
  })
  onTestFinished(server.close)
  return server
}

export async function aFollower(
  election: ReturnType<typeof anElection>,
  options: Partial<FollowerAppOptions> = {},
) {
  const peers = createPeers(clusterSecret, { connectMs: 500 })
  onTestFinished(peers.close)
  const { lines, log } = aLog()
  const app = createFollowerApp({
    ...election,
    ...{ peers, observe: () => {}, log, waitMs: 2_000, graceMs: 50 },
    access: { clients: [], trustedProxies: 0, corsOrigins: [] },
    ...options,
  })
  onTestFinished(app.close)
  const server = await serve(answerNodes(app, { name: 'follower', peers, log, files: noFiles }))
  return { ...server, lines }
}

/** A leader that is nothing but a server of Node. */
export async function aPlainLeader(listener: RequestListener) {
  const server = createServer(listener).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const close = () => closeNow(server)
  onTestFinished(close)
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, close }
}

async function closeNow(server: Server): Promise<void> {
  if (!server.listening) return
  const closed = once(server, 'close')
  server.close()
  server.closeAllConnections()
  await closed
}

/** A URL at which nobody listens. */
export async function aDeadUrl(): Promise<string> {
  const { url, close } = await aPlainLeader(() => {})
  await close()
  return url
}

/** Of a node that no test asks for files. */
export const noFiles: FilesForNodesOptions = {
  ...{ resultsDir: '', previewsDir: '', logPath: String, find: async () => undefined },
  downloads: { begin: () => () => {} },
  previews: { of: async () => '' },
  videoFiles: { find: async () => 'missing' },
}
