import type { Context } from 'hono'
import type { ContentfulStatusCode } from 'hono/utils/http-status'
import * as v from 'valibot'
import { type RefusalCode, RefusalError } from '../../domain/errors.ts'
import type { Quota } from '../../domain/quota.ts'
import { Count, Time } from '../views/words.ts'

/** Only this table knows both vocabularies. A code without a line in it does not compile. */
export const problems = {
  invalid_request: { status: 422, title: 'The request does not make sense' },
  malformed_request: { status: 400, title: 'The address or the Host cannot be read' },
  malformed_body: { status: 400, title: 'The body cannot be read' },
  unsupported_media_type: { status: 415, title: 'The body is of a type that is not understood' },
  body_too_large: { status: 413, title: 'The body is too large' },
  unauthorized: { status: 401, title: 'A token is needed' },
  forbidden: { status: 403, title: 'Only an admin may do this' },
  origin_not_allowed: { status: 403, title: 'Pages of this origin may not do this' },
  host_not_allowed: { status: 403, title: 'The service is not known by this name' },
  link_invalid: { status: 403, title: 'The link is not valid' },
  link_expired: { status: 410, title: 'The link has expired' },
  route_not_found: { status: 404, title: 'There is no such route' },
  method_not_allowed: { status: 405, title: 'The route exists, but not with this method' },
  job_not_found: { status: 404, title: 'There is no such job' },
  job_expired: { status: 410, title: 'The job has expired' },
  video_not_found: { status: 404, title: 'There is no such video' },
  video_replaced: { status: 404, title: 'Another file has the name of the video' },
  range_not_satisfiable: { status: 416, title: 'The file has no such range' },
  precondition_failed: { status: 412, title: 'The file is another one' },
  gpu_not_found: { status: 404, title: 'There is no such GPU' },
  node_not_found: { status: 404, title: 'There is no such node' },
  node_present: { status: 409, title: 'The node is running' },
  task_not_found: { status: 404, title: 'There is no such task' },
  warm_start_off: { status: 409, title: 'Warm starts are off' },
  filename_taken: { status: 409, title: 'The file name is taken' },
  job_stopping: { status: 409, title: 'The job is still being stopped' },
  not_cancellable: { status: 409, title: 'The job is over' },
  not_supported: { status: 501, title: 'This service cannot do that' },
  unsupported_parameter: { status: 400, title: 'This service does not know the parameter' },
  model_not_found: { status: 404, title: 'There is no such model' },
  video_not_ready: { status: 404, title: 'The video is not there yet' },
  video_not_in_time: { status: 504, title: 'The video takes longer than is waited for' },
  video_failed: { status: 422, title: 'There will be no video' },
  video_expired: { status: 410, title: 'The video has expired or has been deleted' },
  idempotency_key_reuse: { status: 422, title: 'The key belongs to another request' },
  rate_limited: { status: 429, title: 'Too many jobs in an hour' },
  queue_full: { status: 429, title: 'No more jobs can be taken for now' },
  webhook_not_found: { status: 404, title: 'There is no such webhook' },
  webhook_disabled: { status: 409, title: 'The webhook is disabled' },
  too_many_secrets: { status: 409, title: 'Too many secrets of the webhook are in use' },
  too_many_webhooks: { status: 409, title: 'There are too many webhooks' },
  delivery_not_found: { status: 404, title: 'There is no such delivery' },
  too_many_watchers: { status: 503, title: 'No more connections can wait for events' },
  shutting_down: { status: 503, title: 'The service is stopping' },
  service_busy: { status: 503, title: 'A part of the service cannot answer just now' },
  disk_full: { status: 507, title: 'The disk is full' },
  database_locked: { status: 503, title: 'Another program holds the lock of the database' },
  database_unreachable: { status: 503, title: 'The database does not answer' },
  no_leader: { status: 503, title: 'No node leads the cluster' },
  leader_lost: { status: 503, title: 'The leading node was lost before its response' },
  node_away: { status: 503, title: 'The file is on a node that is not running' },
} satisfies Record<RefusalCode, { status: ContentfulStatusCode; title: string }>

/** Of a full queue alone. */
export const EtaOfRoomJson = v.object({
  eta_seconds: v.optional(
    v.nullable(v.pipe(Count, v.description('`queue_full`: until there is room again'))),
  ),
})

export const ProblemJson = v.object({
  type: v.pipe(v.string(), v.metadata({ format: 'uri-reference' })),
  title: v.string(),
  status: v.pipe(v.number(), v.integer()),
  code: v.pipe(v.string(), v.description('stable: this is what to switch on')),
  detail: v.pipe(v.string(), v.description('for people; names the field and the rule')),
  field: v.optional(v.pipe(v.string(), v.description('which part of the request it is about'))),
  ...EtaOfRoomJson.entries,
  expired_at: v.optional(v.pipe(Time, v.description('since when it is gone'))),
})
export type ProblemJson = v.InferOutput<typeof ProblemJson>

/** Errors of the native API are problem+json (RFC 9457). */
export function renderProblem(c: Context, refusal: RefusalError): Response {
  const problem = problemOf(refusal)
  return c.json(problem, problem.status, { ...problemJson, ...refusalHeaders(refusal) })
}

/** The server's, of a request that does not get as far as to a context. */
export const refuseUnreadable = (): Response => {
  const problem = problemOf(unreadable())
  return Response.json(problem, { status: problem.status, headers: problemJson })
}

export const unreadable = (): RefusalError =>
  new RefusalError('malformed_request', 'The address or the Host header cannot be read.')

function problemOf({ code, message, field, etaSeconds, expiredAt }: RefusalError) {
  const { status, title } = problems[code]
  return {
    type: `/problems/${code}`,
    title,
    status,
    code,
    detail: message,
    ...(field !== undefined && { field }),
    ...(etaSeconds !== undefined && { eta_seconds: etaSeconds }),
    ...(expiredAt !== undefined && { expired_at: new Date(expiredAt).toISOString() }),
  } satisfies ProblemJson
}

/** What a refusal says beside its body, whichever shape that has. */
export function refusalHeaders({ code, quota }: RefusalError): Record<string, string> {
  const { status } = problems[code]
  return {
    // The rest of the body is not waited for, so nothing can follow it.
    ...(status === 413 && { Connection: 'close' }),
    ...(status === 401 && { 'WWW-Authenticate': 'Bearer' }),
    // A machine takes longer to start than a part of the service.
    ...(status === 503 && { 'Retry-After': code === 'node_away' ? '30' : '2' }),
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

/** For the document. */
export const quotaHeadersSay = {
  'RateLimit-Policy': 'with `JOBS_PER_HOUR`: how many jobs in how many seconds',
  RateLimit: 'with `JOBS_PER_HOUR`: how many are left, and in how many seconds there are more',
}

export const renderOurFault = (c: Context): Response =>
  c.json({ type: 'about:blank', status: 500, title: ourFault }, 500, problemJson)

/** All that is told of a bug of ours. */
export const ourFault = 'Something went wrong here'

const problemJson = { 'Content-Type': 'application/problem+json' }
