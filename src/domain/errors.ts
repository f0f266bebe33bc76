import type { Expired, FileLoss, JobId, Timestamp } from './job.ts'
import type { Quota } from './quota.ts'

/** Every "no" the API knows. The codes are stable: clients switch on them. */
export type RefusalCode =
  | 'invalid_request'
  | 'malformed_request'
  | 'malformed_body'
  | 'unsupported_media_type'
  | 'body_too_large'
  | 'unauthorized'
  | 'forbidden'
  | 'origin_not_allowed'
  | 'host_not_allowed'
  | 'link_invalid'
  | 'link_expired'
  | 'route_not_found'
  | 'method_not_allowed'
  | 'job_not_found'
  | 'job_expired'
  | 'video_not_found'
  | 'video_replaced'
  | 'range_not_satisfiable'
  | 'precondition_failed'
  | 'gpu_not_found'
  | 'node_not_found'
  | 'node_present'
  | 'task_not_found'
  | 'warm_start_off'
  | 'filename_taken'
  | 'job_stopping'
  | 'not_cancellable'
  | 'not_supported'
  | 'unsupported_parameter'
  | 'model_not_found'
  | 'video_not_ready'
  | 'video_not_in_time'
  | 'video_failed'
  | 'video_expired'
  | 'idempotency_key_reuse'
  | 'rate_limited'
  | 'queue_full'
  | 'too_many_watchers'
  | 'webhook_not_found'
  | 'webhook_disabled'
  | 'too_many_webhooks'
  | 'too_many_secrets'
  | 'delivery_not_found'
  | 'shutting_down'
  | 'service_busy'
  | 'disk_full'
  | 'database_locked'
  | 'database_unreachable'
  | 'no_leader'
  | 'leader_lost'
  | 'node_away'

export type RefusalOptions = ErrorOptions &
  Readonly<{
    field?: string
    quota?: Quota
    awaits?: readonly JobId[]
    etaSeconds?: number | null
    expiredAt?: Timestamp
  }>

/** A "no" that the caller can act on. Anything else that is thrown is a bug of ours. */
export class RefusalError extends Error {
  override readonly name = 'RefusalError'
  readonly code: RefusalCode
  /** The field of the request it is about. */
  readonly field: string | undefined
  /** Of the client that has used it up. */
  readonly quota: Quota | undefined
  /** There is room again when the first of these jobs is over. */
  readonly awaits: readonly JobId[] | undefined
  /** In how many seconds there is room again; `null`: nobody knows. */
  readonly etaSeconds: number | null | undefined
  /** Since when there is no longer what was asked for. */
  readonly expiredAt: Timestamp | undefined

  constructor(code: RefusalCode, detail: string, options: RefusalOptions = {}) {
    super(detail, options)
    this.code = code
    this.field = options.field
    this.quota = options.quota
    this.awaits = options.awaits
    this.etaSeconds = options.etaSeconds
    this.expiredAt = options.expiredAt
  }
}

/** Of what was there once, and until when. */
export const hasExpired = (
  { expiredAt }: Expired,
  code: 'job_expired' | 'video_expired' = 'job_expired',
): RefusalError =>
  new RefusalError(
    code,
    `Expired at ${new Date(expiredAt).toISOString()}: the record is gone, with its video and log.`,
    { expiredAt },
  )

export const nodeIsPresent = (name: string): RefusalError =>
  new RefusalError(
    'node_present',
    `The node "${name}" is running. Stop the service there, then remove the node.`,
  )

/** The store cannot write for want of room; what it was told before is safe. */
export class DiskFullError extends Error {
  override readonly name = 'DiskFullError'
}

/** The database server does not answer, or takes no changes now. What was stored before is safe. */
export class DatabaseUnreachableError extends Error {
  override readonly name = 'DatabaseUnreachableError'
  /** The change may have been stored: the answer to the commit was lost. */
  readonly mayBeStored: boolean

  constructor(message: string, options: ErrorOptions & { mayBeStored?: boolean } = {}) {
    super(message, options)
    this.mayBeStored = options.mayBeStored ?? false
  }
}

/** What a client is told of a change that met such an error. */
export const unreachableRefusal = (error: DatabaseUnreachableError): RefusalError =>
  new RefusalError(
    'database_unreachable',
    error.mayBeStored
      ? `${error.message}. It is unknown whether the request was stored. Look for its job, or send the request again with the same Idempotency-Key.`
      : `${error.message}. Nothing was changed. Try again in a moment.`,
  )

/** Another program holds the lock of the store; what was stored before is safe. */
export class StoreLockedError extends Error {
  override readonly name = 'StoreLockedError'
}

export const jobNotFound = (...ids: JobId[]): RefusalError =>
  new RefusalError('job_not_found', `No job has the id ${ids.join(', ')}.`, { field: 'id' })

export const lostVideo = (loss: FileLoss): RefusalError =>
  loss === 'missing'
    ? new RefusalError(
        'video_not_found',
        'The file of this video is gone: somebody removed it without the service. Submit the prompt again.',
      )
    : new RefusalError(
        'video_replaced',
        'Another file has the name of this video now, and is not sent in its place. Submit the prompt again.',
      )

/** The message of anything that was thrown. */
export const messageOf = (error: unknown): string =>
  error instanceof Error ? error.message : String(error)
