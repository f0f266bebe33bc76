/** The API of a node that does not lead: it forwards what it does not answer itself. */

import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response'
import { type Context, Hono } from 'hono'
import type { TokenHolder } from '../../domain/client.ts'
import { RefusalError } from '../../domain/errors.ts'
import type { Logger } from '../../domain/log.ts'
import type { Observe } from '../../domain/observation.ts'
import type { Outgoing } from '../fast/outgoing.ts'
import { rememberingRouter } from '../fast/remembering-router.ts'
import { notLeaderHeader, type Peers } from '../peers/peers.ts'
import { createIdentify, routeOf } from '../request/access.ts'
import { clientAddress } from '../request/address.ts'
import { allowOrigins, refuseOtherPages } from '../request/browsers.ts'
import type { ClientEnv } from '../request/client-env.ts'
import { hearOutIncoming } from '../request/hear-out.ts'
import { createRefuseHosts, type OwnHosts } from '../request/hosts.ts'
import { renderError } from '../response/errors.ts'
import { createForwarder, type ForwarderOptions } from './forwarder.ts'

export type FollowerAppOptions = Omit<ForwarderOptions, 'peers' | 'log'> &
  Readonly<{
    peers: Peers
    access: Readonly<{
      /** Clients with a token; none: every client may do everything. */
      clients: readonly TokenHolder[]
      trustedProxies: number
      /** Names that requests may call the service by; absent: any. */
      ownHosts?: OwnHosts | undefined
      /** Origins whose pages may use the API in a browser; `*`: all. */
      corsOrigins: readonly string[]
    }>
    /** Routes that this node answers itself. */
    local?: Hono<ClientEnv>
    observe: Observe
    log: Logger
  }>

export type FollowerApp = ReturnType<typeof createFollowerApp>

export function createFollowerApp({
  peers,
  access,
  local = new Hono<ClientEnv>(),
  observe,
  log,
  ...options
}: FollowerAppOptions) {
  const { clients, trustedProxies, corsOrigins } = access
  const forwarder = createForwarder({ ...options, peers, log })
  const app = new Hono<ClientEnv>({ router: rememberingRouter() })
  const renderFailure = renderError(log)
  const refuseHosts = createRefuseHosts(access.ownHosts)
  const identify = createIdentify({ holders: clients, trustedProxies })
  const toPages = corsOrigins.length > 0 ? allowOrigins(corsOrigins) : undefined

  app.use(async (c, next) => {
    const begun = performance.now()
    const asked = routeOf(c)
    const { incoming, outgoing } = c.env
    c.set('requestId', outgoing.requestId)
    const admit = async () => {
      // Forwarding it again could go round in circles.
      if (peers.isForwarded(incoming)) throw notLeading(c)
      refuseHosts(c, asked)
      refuseOtherPages(c, corsOrigins)
      if (asked) {
        identify(c, asked)
        return next()
      }
      const address = clientAddress(c, trustedProxies)
      c.res = await forwarder.forward({ incoming, outgoing, clientAddress: address })
    }
    try {
      if (toPages) c.res = (await toPages(c, admit)) ?? c.res
      else await admit()
    } catch (error) {
      c.res = await renderFailure(error as Error, c)
      await hearOutIncoming(c, incoming)
    }
    observe({
      saw: 'requestAnswered',
      method: c.req.method,
      route: asked?.path ?? 'forwarded',
      status: outgoing.headersSent ? outgoing.statusCode : c.res.status,
      tookMs: performance.now() - begun,
    })
  })
  app.onError(renderFailure)
  app.route('/', local)
  return {
    async fetch(request: Request, env: ClientEnv['Bindings']): Promise<Response> {
      const response = await app.fetch(request, env)
      // Hono copies a response to HEAD, and the copy would be sent as well.
      return wasSent(env.outgoing) ? RESPONSE_ALREADY_SENT : response
    },
    close: forwarder.close,
  }
}

const wasSent = ({ headersSent, destroyed }: Outgoing): boolean => headersSent || destroyed

function notLeading(c: Context): RefusalError {
  c.header(notLeaderHeader, '1')
  return new RefusalError('no_leader', 'This node does not lead. Nothing was changed.')
}
