import type { Context } from 'hono'
import type { ContentfulStatusCode } from 'hono/utils/http-status'
import type { RefusalCode, RefusalError } from '../errors.ts'

/** Only this table knows both vocabularies. A code without a line in it does not compile. */
export const problems = {
  invalid_request: { status: 422, title: 'The request does not make sense' },
  malformed_body: { status: 400, title: 'The body cannot be read' },
  unsupported_media_type: { status: 415, title: 'The body is of a type that is not understood' },
  body_too_large: { status: 413, title: 'The body is too large' },
  unauthorized: { status: 401, title: 'A token is needed' },
  forbidden: { status: 403, title: 'Only an admin may do this' },
  route_not_found: { status: 404, title: 'There is no such route' },
  method_not_allowed: { status: 405, title: 'The route exists, but not with this method' },
  job_not_found: { status: 404, title: 'There is no such job' },
  video_not_found: { status: 404, title: 'There is no such video' },
  range_not_satisfiable: { status: 416, title: 'The file has no such range' },
  precondition_failed: { status: 412, title: 'The file is another one' },
  gpu_not_found: { status: 404, title: 'There is no such GPU' },
  filename_taken: { status: 409, title: 'The file name is taken' },
  job_stopping: { status: 409, title: 'The job is still being stopped' },
  not_cancelable: { status: 409, title: 'The job is over' },
  not_supported: { status: 501, title: 'This service cannot do that' },
  unsupported_parameter: { status: 400, title: 'This service does not know the parameter' },
  model_not_found: { status: 404, title: 'There is no such model' },
  video_not_ready: { status: 404, title: 'The video is not there yet' },
  video_failed: { status: 422, title: 'There will be no video' },
  video_expired: { status: 410, title: 'The video has been deleted' },
  queue_full: { status: 429, title: 'No more jobs can be taken for now' },
  shutting_down: { status: 503, title: 'The service is stopping' },
  service_busy: { status: 503, title: 'A part of the service cannot answer just now' },
  disk_full: { status: 507, title: 'The disk is full' },
} satisfies Record<RefusalCode, { status: ContentfulStatusCode; title: string }>

/** Errors of the native API are problem+json (RFC 9457). */
export function renderProblem(c: Context, { code, message, field }: RefusalError): Response {
  const { status, title } = problems[code]
  const problem = { type: `/problems/${code}`, title, status, code, detail: message }
  if (status === 401) c.header('WWW-Authenticate', 'Bearer')
  if (status === 503) c.header('Retry-After', '2')
  return c.json(field === undefined ? problem : { ...problem, field }, status, problemJson)
}

export const renderOurFault = (c: Context): Response =>
  c.json({ type: 'about:blank', status: 500, title: ourFault }, 500, problemJson)

/** All that is told of a bug of ours. */
export const ourFault = 'Something went wrong here'

const problemJson = { 'Content-Type': 'application/problem+json' }
