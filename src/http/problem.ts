import type { Context, ErrorHandler } from 'hono'
import { HTTPException } from 'hono/http-exception'
import type { ContentfulStatusCode } from 'hono/utils/http-status'
import { ActorFailedError } from '../actors/actor.ts'
import type { Quota } from '../client.ts'
import { DiskFullError, type RefusalCode, RefusalError } from '../errors.ts'
import type { Logger } from '../log.ts'

/** Only this table knows both vocabularies. A code without a line in it does not compile. */
const problems = {
  invalid_request: { status: 422, title: 'The request does not make sense' },
  malformed_body: { status: 400, title: 'The body cannot be read' },
  unsupported_media_type: { status: 415, title: 'The body is of a type that is not understood' },
  body_too_large: { status: 413, title: 'The body is too large' },
  unauthorized: { status: 401, title: 'A token is needed' },
  forbidden: { status: 403, title: 'Only an admin may do this' },
  origin_not_allowed: { status: 403, title: 'Pages of this origin may not do this' },
  link_invalid: { status: 403, title: 'The link is not valid' },
  link_expired: { status: 410, title: 'The link has expired' },
  route_not_found: { status: 404, title: 'There is no such route' },
  method_not_allowed: { status: 405, title: 'The route exists, but not with this method' },
  job_not_found: { status: 404, title: 'There is no such job' },
  video_not_found: { status: 404, title: 'There is no such video' },
  range_not_satisfiable: { status: 416, title: 'The file has no such range' },
  precondition_failed: { status: 412, title: 'The file is another one' },
  gpu_not_found: { status: 404, title: 'There is no such GPU' },
  filename_taken: { status: 409, title: 'The file name is taken' },
  rate_limited: { status: 429, title: 'Too many jobs in an hour' },
  queue_full: { status: 429, title: 'No more jobs can be taken for now' },
  webhook_not_found: { status: 404, title: 'There is no such webhook' },
  webhook_disabled: { status: 409, title: 'The webhook is disabled' },
  too_many_webhooks: { status: 409, title: 'There are too many webhooks' },
  delivery_not_found: { status: 404, title: 'There is no such delivery' },
  too_many_watchers: { status: 503, title: 'No more connections can wait for events' },
  shutting_down: { status: 503, title: 'The service is stopping' },
  service_busy: { status: 503, title: 'A part of the service cannot answer just now' },
  disk_full: { status: 507, title: 'The disk is full' },
} satisfies Record<RefusalCode, { status: ContentfulStatusCode; title: string }>

const ourFault = { type: 'about:blank', status: 500, title: 'Something went wrong here' } as const

/** Every error leaves as problem+json (RFC 9457); only a refusal tells its reason. */
export const renderProblem =
  (log: Logger): ErrorHandler =>
  (error, c) => {
    const refusal = asRefusal(error)
    if (refusal) return renderRefusal(c, refusal)
    log.error({ err: error, method: c.req.method, path: c.req.path }, 'request failed')
    return c.json(ourFault, ourFault.status, problemJson)
  }

export function renderRefusal(c: Context, refusal: RefusalError): Response {
  const { code, message, field } = refusal
  const { status, title } = problems[code]
  const problem = { type: `/problems/${code}`, title, status, code, detail: message }
  return c.json(field === undefined ? problem : { ...problem, field }, status, {
    ...problemJson,
    ...refusalHeaders(refusal),
  })
}

/** What a refusal says beside its body, whichever shape that has. */
export function refusalHeaders({ code, quota }: RefusalError): Record<string, string> {
  const { status } = problems[code]
  return {
    ...(status === 401 && { 'WWW-Authenticate': 'Bearer' }),
    ...(status === 503 && { 'Retry-After': '2' }),
    ...(quota && { 'Retry-After': String(quota.moreInS), ...quotaHeaders(quota) }),
  }
}

/** As draft-ietf-httpapi-ratelimit-headers has had it since its eighth version. */
export function quotaHeaders(quota: Quota | undefined): Record<string, string> {
  if (!quota) return {}
  const { limit, remaining, moreInS } = quota
  return {
    'RateLimit-Policy': `"jobs";q=${limit};w=3600`,
    RateLimit: `"jobs";r=${remaining}${moreInS === undefined ? '' : `;t=${moreInS}`}`,
  }
}

const problemJson = { 'Content-Type': 'application/problem+json' }

/** An actor that is being restarted, or a store that waits for room, is not a bug but a bad moment. */
function asRefusal(error: Error): RefusalError | undefined {
  if (error instanceof RefusalError) return error
  if (error instanceof ActorFailedError) {
    return error.cause instanceof DiskFullError
      ? new RefusalError(
          'disk_full',
          'The disk is full; nothing was changed. Try again when there is room.',
        )
      : new RefusalError('service_busy', `${error.message}. Try again in a moment.`)
  }
  if (error instanceof HTTPException && error.status === 413) {
    return new RefusalError('body_too_large', error.message)
  }
  return undefined
}
