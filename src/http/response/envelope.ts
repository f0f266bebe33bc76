import type { Context } from 'hono'
import * as v from 'valibot'
import type { RefusalCode, RefusalError } from '../../domain/errors.ts'
import { EtaOfRoomJson, ourFault, problems, refusalHeaders } from './problem.ts'

export const ErrorJson = v.object({
  error: v.object({
    message: v.string(),
    type: v.string(),
    param: v.nullable(v.pipe(v.string(), v.description('which field it is about'))),
    code: v.pipe(
      v.string(),
      v.description('stable: `video_not_found`, `invalid_seconds` and the like'),
    ),
    ...EtaOfRoomJson.entries,
  }),
})
export type ErrorJson = v.InferOutput<typeof ErrorJson>

/** What OpenAI's clients switch on is `code`; whether they try again by themselves is up to us. */
export function renderEnvelope(c: Context, refusal: RefusalError): Response {
  const { code, message, field, quota, etaSeconds } = refusal
  const status = envelopeStatusOf(code)
  const error: ErrorJson['error'] = {
    message,
    type: typeOf(status),
    param: field ?? null,
    code: codeOf(refusal),
    ...(etaSeconds !== undefined && { eta_seconds: etaSeconds }),
  }
  const isTooLong = quota?.moreInS !== undefined && quota.moreInS > maxWaitS
  return c.json({ error }, status, {
    ...refusalHeaders(refusal),
    ...(isTooLong ? notAgain : retryHeaders(code)),
  })
}

export const envelopeStatusOf = (code: RefusalCode) =>
  code === 'invalid_request' ? 400 : problems[code].status

/** Nobody knows how far it came: it is not to be tried again unasked. */
export function renderEnvelopeOfOurFault(c: Context): Response {
  const error = { message: ourFault, type: 'server_error', param: null, code: 'internal_error' }
  return c.json({ error }, 500, notAgain)
}

const notAgain = { 'x-should-retry': 'false' }

/** Some clients sleep as long as they are told, deaf to everything, and ask again whatever comes of it. */
const maxWaitS = 30

/** A job is a video here, and each field has a code of its own. */
function codeOf({ code, field }: RefusalError): string {
  if (code === 'job_not_found') return 'video_not_found'
  if (code === 'job_expired') return 'video_expired'
  if (code === 'unauthorized') return 'invalid_api_key'
  if (code === 'rate_limited') return 'rate_limit_exceeded'
  if (code !== 'invalid_request' || field === undefined) return code
  const [name = ''] = field.toLowerCase().replaceAll('-', '_').split('.')
  return name === 'model' ? 'model_not_found' : `invalid_${name}`
}

const typeOf = (status: number): string =>
  status >= 500 ? 'server_error' : (types[status] ?? 'invalid_request_error')

const types: Readonly<Record<number, string>> = {
  401: 'authentication_error',
  403: 'permission_error',
  429: 'rate_limit_error',
}

/** The client tries 409, 429 and all from 500 on again, up to three times, if nothing else is said. */
const retryHeaders = (code: RefusalCode): Readonly<Record<string, string>> => {
  switch (code) {
    case 'job_stopping':
    case 'service_busy':
    case 'database_locked':
    case 'database_unreachable':
    case 'no_leader':
    case 'leader_lost':
    case 'shutting_down':
      return { 'x-should-retry': 'true', 'retry-after-ms': '1000' }
    case 'queue_full':
    case 'disk_full':
    case 'not_cancellable':
    case 'video_not_in_time':
    case 'not_supported':
    case 'node_away':
      return notAgain
    default:
      return {}
  }
}
