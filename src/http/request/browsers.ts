/** What browsers are told, and what pages of other origins may do. */
import type { Context, MiddlewareHandler } from 'hono'
import { cors } from 'hono/cors'
import { RefusalError } from '../../domain/errors.ts'

/** Pages of these origins may read our answers; they show a token, never cookies. */
export const allowOrigins = (origins: readonly string[]): MiddlewareHandler =>
  cors({
    origin: origins.includes('*') ? '*' : [...origins],
    allowMethods: ['GET', 'HEAD', 'POST', 'DELETE'],
    exposeHeaders: [
      ...['Location', 'Retry-After', 'RateLimit', 'RateLimit-Policy', 'WWW-Authenticate'],
      ...['X-Request-Id', 'Idempotent-Replayed', 'openai-poll-after-ms', 'x-should-retry'],
      ...['ETag', 'Accept-Ranges', 'Content-Range', 'Content-Length', 'Content-Disposition'],
    ],
    maxAge: 600,
  })

const safeMethods = ['GET', 'HEAD', 'OPTIONS']

/**
 * A browser sends some requests before it asks whether it may, on behalf of whatever page it shows.
 * Where nobody needs a token, such a page could drain our GPUs. Who is not a browser says nothing of
 * origins, and is let through.
 */
export function refuseOtherPages(c: Context, origins: readonly string[]): void {
  if (safeMethods.includes(c.req.method) || isOwnPage(c)) return
  const origin = c.req.header('Origin') ?? 'null'
  if (origins.includes('*') || origins.includes(origin)) return
  throw new RefusalError(
    'origin_not_allowed',
    `Pages of ${origin} may change nothing here; CORS_ORIGINS says which may.`,
  )
}

function isOwnPage(c: Context): boolean {
  const site = c.req.header('Sec-Fetch-Site')
  if (site !== undefined) return site === 'same-origin' || site === 'none'
  const origin = c.req.header('Origin')
  return origin === undefined || URL.parse(origin)?.host === c.req.header('Host')
}
