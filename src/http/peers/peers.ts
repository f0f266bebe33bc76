/** How the nodes of a cluster recognise each other's requests. */
import { createHmac, timingSafeEqual } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { Outgoing } from '../fast/outgoing.ts'
import { createPeerConnections, type PeerConnections } from './peer-connections.ts'

/** All headers between nodes begin so. Nodes neither forward them for clients nor send them to clients. */
export const peerHeaderPrefix = 'wan-'

/** Shows that a node forwards the request of a client. */
export const forwardKeyHeader = 'wan-forward-key'

/** Shows that a node sends a request of its own. */
export const nodeKeyHeader = 'wan-node-key'

/** Name of the node that a request of a node is for. Any other node refuses it with 421. */
export const nodeNameHeader = 'wan-node-name'

/** IP address of the client, or its IPv6 network. */
export const clientAddressHeader = 'wan-client-address'

/** Names a forwarded request whose client may hang up. */
export const forwardedIdHeader = 'wan-forwarded-id'

/** `1`: the response of a node that received a forwarded request and does not lead. */
export const notLeaderHeader = 'wan-not-leader'

export type Peers = PeerConnections &
  Readonly<{
    forwardKey: string
    nodeKey: string
    isForwarded(request: IncomingMessage): boolean
    isFromNode(request: IncomingMessage): boolean
    /** Either of them. */
    isPeer(request: IncomingMessage): boolean
    /** IP address of the client of a forwarded request; absent: the request was not forwarded. */
    receive(request: IncomingMessage, response: Outgoing): string | undefined
    /** The client of this forwarded request hung up. */
    hungUp(forwardedId: string): void
  }>

/**
 * `secret`: the same on all nodes. It is not sent: each purpose has a key of its own, so that a forwarded request cannot
 * pass for a request of the node that forwards it, whatever path the client has chosen.
 */
export function createPeers(
  secret: string,
  connections: Parameters<typeof createPeerConnections>[0] = {},
): Peers {
  const forwardKey = keyFor(secret, 'forwarded requests')
  const nodeKey = keyFor(secret, 'requests of nodes')
  const shows = (request: IncomingMessage, header: string, key: string): boolean => {
    const shown = request.headers[header]
    return typeof shown === 'string' && isSame(shown, key)
  }
  const isForwarded = (request: IncomingMessage) => shows(request, forwardKeyHeader, forwardKey)
  const isFromNode = (request: IncomingMessage) => shows(request, nodeKeyHeader, nodeKey)
  const inProgress = new Map<string, Outgoing>()

  return {
    ...createPeerConnections(connections),
    forwardKey,
    nodeKey,
    isForwarded,
    isFromNode,
    isPeer: (request) => isForwarded(request) || isFromNode(request),

    receive(request, response) {
      if (!isForwarded(request)) return undefined
      // The node may have died, and its client still be there: only `hungUp` says otherwise.
      response.wasCut = true
      const id = request.headers[forwardedIdHeader]
      if (typeof id === 'string') {
        inProgress.set(id, response)
        response.once('close', () => inProgress.delete(id))
      }
      const address = request.headers[clientAddressHeader]
      return typeof address === 'string' ? address : 'unknown'
    },

    hungUp(forwardedId) {
      const response = inProgress.get(forwardedId)
      if (response) response.wasCut = false
    },
  }
}

const keyFor = (secret: string, purpose: string): string =>
  createHmac('sha256', secret).update(`wan-supervisor: ${purpose}`).digest('base64url')

/** In constant time: both are of a known length, which is no secret. */
function isSame(shown: string, key: string): boolean {
  const [a, b] = [Buffer.from(shown), Buffer.from(key)]
  return a.length === b.length && timingSafeEqual(a, b)
}
