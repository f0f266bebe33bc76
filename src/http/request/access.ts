import { createHash, timingSafeEqual } from 'node:crypto'
import type { Context } from 'hono'
import { matchedRoutes } from 'hono/route'
import type { RouterRoute } from 'hono/types'
import { type Client, scopeOf, type TokenHolder } from '../../domain/client.ts'
import { RefusalError } from '../../domain/errors.ts'
import type { FileLinks } from '../views/file-links.ts'
import { clientAddress } from './address.ts'
import type { ClientEnv } from './client-env.ts'
import { type Access, descriptionOf } from './route.ts'

export type IdentifyOptions = Readonly<{
  /** Whose tokens are taken; none: everybody may do everything. */
  holders: readonly TokenHolder[]
  /** Absent: no route of this app takes a link. */
  links?: Pick<FileLinks, 'jobOf'>
  /** How many proxies of ours a request comes through. */
  trustedProxies: number
}>

/** Says who asks, and lets nobody pass who may not use the route. */
export const createIdentify =
  ({ holders, links, trustedProxies }: IdentifyOptions) =>
  (c: Context<ClientEnv>, asked: RouterRoute | undefined, forwardedFor?: string): void => {
    const needed = accessTo(asked)
    if (needed === 'anybody') return
    const token = tokenIn(c)
    const address = forwardedFor ?? clientAddress(c, trustedProxies)
    if (needed === 'probe') {
      // A monitor with a revoked token still needs to know whether the service is alive.
      const client = findClient(token, holders, address)
      if (client) c.set('client', client)
      return
    }
    const isNobody = token === undefined && holders.length > 0
    if (isNobody && needed === 'stranger') return
    if (isNobody && needed === 'link' && links) {
      const query = c.req.query()
      if ('signature' in query) {
        c.set('scope', { jobId: links.jobOf(query) })
        return
      }
    }
    const client = clientOf(token, holders, address)
    if (needed === 'admin' && !client.isAdmin) {
      throw new RefusalError('forbidden', `${c.req.method} ${c.req.path} is for admins.`)
    }
    c.set('client', client)
    c.set('scope', scopeOf(client))
  }

/** The route that a request is for; what stands before all routes is none. */
export const routeOf = (c: Context) => matchedRoutes(c).find(({ method }) => method !== 'ALL')

/** What does not exist is nobody's business without a token. */
const accessTo = (route: RouterRoute | undefined): Access => (route ? accessOf(route) : 'client')

/** A route that is not described is for admins. */
const accessOf = ({ handler }: RouterRoute): Access => descriptionOf(handler)?.access ?? 'admin'

function tokenIn(c: Context<ClientEnv>): string | undefined {
  return /^Bearer +(\S+) *$/i.exec(c.env.incoming.headers.authorization ?? '')?.[1]
}

function clientOf(
  token: string | undefined,
  holders: readonly TokenHolder[],
  address: string,
): Client {
  const client = findClient(token, holders, address)
  if (client) return client
  const detail =
    token === undefined
      ? 'Send a token: "Authorization: Bearer <token>".'
      : 'This token is not known.'
  throw new RefusalError('unauthorized', detail)
}

function findClient(
  token: string | undefined,
  holders: readonly TokenHolder[],
  address: string,
): Client | undefined {
  if (holders.length === 0) return { name: null, isAdmin: true, address }
  if (token === undefined) return undefined
  const digest = createHash('sha256').update(token).digest()
  // Each is compared, and in constant time: how long it takes tells nothing of any token.
  const [holder] = holders.filter(({ tokenDigest }) => timingSafeEqual(tokenDigest, digest))
  return holder && { name: holder.name, isAdmin: holder.isAdmin, address }
}
