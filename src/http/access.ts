import { createHash, timingSafeEqual } from 'node:crypto'
import { getConnInfo } from '@hono/node-server/conninfo'
import type { Context, MiddlewareHandler } from 'hono'
import { matchedRoutes } from 'hono/route'
import { type Client, type Scope, scopeOf, type TokenHolder } from '../client.ts'
import { RefusalError } from '../errors.ts'

/** What a handler finds in its context once `identify` has let a request through. */
export type ClientEnv = { Variables: { client: Client; scope: Scope } }

type Access = 'anybody' | 'client' | 'admin'

/** Who may use each route. One that is missing here is an admin's alone, and fails a test. */
export const access: Readonly<Record<string, Access>> = {
  'GET /health': 'anybody',
  'GET /ready': 'anybody',
  'POST /generate': 'client',
  'GET /status/:id': 'client',
  'GET /jobs': 'client',
  'GET /jobs/lookup': 'client',
  'GET /jobs/:id': 'client',
  'GET /jobs/:id/log': 'client',
  'DELETE /jobs': 'client',
  'GET /videos': 'client',
  'DELETE /videos': 'client',
  'GET /files/:filename': 'client',
  'HEAD /files/:filename': 'client',
  'POST /v1/videos': 'client',
  'GET /v1/videos': 'client',
  'POST /v1/videos/edits': 'client',
  'POST /v1/videos/extensions': 'client',
  'POST /v1/videos/characters': 'client',
  'POST /v1/videos/sync': 'client',
  'GET /v1/videos/:id': 'client',
  'DELETE /v1/videos/:id': 'client',
  'POST /v1/videos/:id/cancel': 'client',
  'POST /v1/videos/:id/remix': 'client',
  'GET /v1/videos/:id/content': 'client',
  'GET /v1/models': 'client',
  'GET /v1/models/:model': 'client',
  'GET /gpus': 'admin',
  'POST /gpus/:id/drain': 'admin',
  'POST /gpus/:id/resume': 'admin',
  'POST /gpus/:id/restart': 'admin',
}

/** Says who asks, and lets nobody pass who may not use the route. */
export function identify(holders: readonly TokenHolder[]): MiddlewareHandler<ClientEnv> {
  return async (c, next) => {
    const needed = accessTo(c)
    if (needed === 'anybody') return next()
    const client = clientOf(c, holders)
    if (needed === 'admin' && !client.isAdmin) {
      throw new RefusalError('forbidden', `${c.req.method} ${c.req.path} is for admins.`)
    }
    c.set('client', client)
    c.set('scope', scopeOf(client))
    return next()
  }
}

/** What does not exist is nobody's business without a token. */
function accessTo(c: Context): Access {
  const route = matchedRoutes(c).find(({ method }) => method !== 'ALL')
  return route ? (access[`${route.method} ${route.path}`] ?? 'admin') : 'client'
}

function clientOf(c: Context, holders: readonly TokenHolder[]): Client {
  const address = getConnInfo(c).remote.address ?? 'unknown'
  if (holders.length === 0) return { name: null, isAdmin: true, address }
  const [, token] = /^Bearer +(\S+) *$/i.exec(c.req.header('Authorization') ?? '') ?? []
  if (token === undefined) {
    throw new RefusalError('unauthorized', 'Send a token: "Authorization: Bearer <token>".')
  }
  const digest = createHash('sha256').update(token).digest()
  // Each is compared, and in constant time: how long it takes tells nothing of any token.
  const [holder] = holders.filter(({ tokenDigest }) => timingSafeEqual(tokenDigest, digest))
  if (!holder) throw new RefusalError('unauthorized', 'This token is not known.')
  return { name: holder.name, isAdmin: holder.isAdmin, address }
}
