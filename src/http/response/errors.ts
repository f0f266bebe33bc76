import type { Context, ErrorHandler } from 'hono'
import { HTTPException } from 'hono/http-exception'
import { ActorFailedError } from '../../actors/actor.ts'
import {
  DatabaseUnreachableError,
  DiskFullError,
  RefusalError,
  StoreLockedError,
  unreachableRefusal,
} from '../../domain/errors.ts'
import { systemFaultOf } from '../../domain/failures.ts'
import type { Logger } from '../../domain/log.ts'
import { renderEnvelope, renderEnvelopeOfOurFault } from './envelope.ts'
import { renderOurFault, renderProblem } from './problem.ts'

/** Only a refusal tells its reason; each API has its own form for it. */
export const renderError =
  (log: Logger): ErrorHandler =>
  (error, c) => {
    const refusal = asRefusal(error)
    if (refusal) return renderRefusal(c, refusal)
    const { method, path } = c.req
    const requestId: unknown = c.get('requestId')
    log.error({ err: error, method, path, requestId }, 'request failed')
    return isOpenAi(c) ? renderEnvelopeOfOurFault(c) : renderOurFault(c)
  }

export const renderRefusal = (c: Context, refusal: RefusalError): Response =>
  isOpenAi(c) ? renderEnvelope(c, refusal) : renderProblem(c, refusal)

const isOpenAi = (c: Context): boolean => /^\/v1(\/|$)/.test(c.req.path)

/** An actor that is being restarted, or a store that waits for room, is not a bug but a bad moment. */
function asRefusal(error: Error): RefusalError | undefined {
  if (error instanceof RefusalError) return error
  const causes = [error, error.cause]
  if (causes.some((one) => one instanceof StoreLockedError)) {
    return new RefusalError(
      'database_locked',
      'Another program holds the lock of the database; nothing was changed. Try again in a moment.',
    )
  }
  const unreachable = causes.find((one) => one instanceof DatabaseUnreachableError)
  if (unreachable) return unreachableRefusal(unreachable)
  const full = causes.find((one) => one instanceof DiskFullError)
  if (full) {
    return new RefusalError('disk_full', `Nothing was changed: ${full.message}. Try again later.`)
  }
  if (causes.some((one) => systemFaultOf(one) === 'resources_exhausted')) {
    const detail = 'The service has no descriptors or no memory left. Try again in a moment.'
    return new RefusalError('service_busy', detail)
  }
  if (error instanceof ActorFailedError) {
    return new RefusalError('service_busy', `${error.message}. Try again in a moment.`)
  }
  if (error instanceof HTTPException && error.status === 413) {
    return new RefusalError('body_too_large', error.message)
  }
  return undefined
}
