/** Connections to other nodes, kept for the next request. */
import {
  type ClientRequest,
  Agent as HttpAgent,
  request as httpRequest,
  type IncomingMessage,
} from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https'
import type { Socket } from 'node:net'
import { createReach } from './reach.ts'

/** A node in the same network accepts within milliseconds. */
const defaultConnectMs = 2_000

/**
 * Time between two checks of a node that has not responded yet. Bytes that were sent into a dead link are
 * repeated by the kernel for a quarter of an hour.
 */
const defaultCheckMs = 3_000

/**
 * An idle connection is closed here before the other node closes it, after 75 s: a request that leaves in that moment would
 * be lost.
 */
const defaultIdleMs = 30_000

const agentOptions = {
  keepAlive: true,
  // A peer whose machine is switched off is noticed some 10 s after that.
  keepAliveMsecs: 2_000,
  // The others become old, and are closed.
  scheduling: 'lifo',
  maxFreeSockets: 64,
} as const

export type PeerRequest = Readonly<{
  url: string
  method: string
  path: string
  /** Each name before its value. */
  headers: readonly string[]
}>

/** `unsent`: nothing has reached the node. `lost`: the connection broke, and the node may have read the request. */
export type PeerOutcome =
  | Readonly<{ how: 'answered'; response: IncomingMessage }>
  | Readonly<{ how: 'unsent' | 'lost'; error: Error }>

export type PeerCall = Readonly<{
  request: ClientRequest
  /** Never rejects. */
  outcome: Promise<PeerOutcome>
}>

export type PeerConnections = ReturnType<typeof createPeerConnections>

type PeerTimes = Readonly<{
  connectMs?: number
  checkMs?: number
  reachMs?: number | undefined
  idleMs?: number
}>

export function createPeerConnections({
  connectMs = defaultConnectMs,
  checkMs = defaultCheckMs,
  reachMs,
  idleMs = defaultIdleMs,
}: PeerTimes = {}) {
  const options = { ...agentOptions, timeout: idleMs }
  const agents = { http: new HttpAgent(options), https: new HttpsAgent(options) }
  const isReached = createReach({ limitMs: reachMs })

  return {
    /** `onConnected`: the body can be sent. Nothing of it is read before. */
    call(
      { url, method, path, headers }: PeerRequest,
      onConnected: (request: ClientRequest) => void,
    ): PeerCall {
      const { protocol, hostname: name, port } = new URL(url)
      const isTls = protocol === 'https:'
      // Without the brackets of an IPv6 address.
      const hostname = name.replace(/^\[|\]$/g, '')
      const portNumber = Number(port || (isTls ? 443 : 80))
      const request = (isTls ? httpsRequest : httpRequest)({
        agent: isTls ? agents.https : agents.http,
        hostname,
        port: portNumber,
        ...{ method, path, headers },
      })
      const { promise, resolve } = Promise.withResolvers<PeerOutcome>()
      let isConnected = false
      let checks: NodeJS.Timeout | undefined
      const tooLate = setTimeout(
        () => request.destroy(new Error(`no connection within ${connectMs} ms`)),
        connectMs,
      )
      const connected = () => {
        clearTimeout(tooLate)
        isConnected = true
        checks = setInterval(check, checkMs)
        onConnected(request)
      }
      const check = async () => {
        if (await isReached(hostname, portNumber)) return
        if (checks) request.destroy(new Error(`no packets reach ${hostname}:${portNumber}`))
      }
      const settle = (outcome: PeerOutcome) => {
        clearTimeout(tooLate)
        clearInterval(checks)
        checks = undefined
        resolve(outcome)
      }
      const fail = (error: Error) => settle({ how: isConnected ? 'lost' : 'unsent', error })
      request.once('socket', (socket: Socket) => {
        if (socket.connecting) socket.once(isTls ? 'secureConnect' : 'connect', connected)
        else connected()
      })
      request.once('response', (response) => settle({ how: 'answered', response }))
      request.on('error', fail)
      request.once('close', () => fail(new Error('the connection was closed')))
      return { request, outcome: promise }
    },

    close(): void {
      agents.http.destroy()
      agents.https.destroy()
    },
  }
}
