import type { GpuId, JobId } from '../../job.ts'
import type { Asks } from '../actor.ts'
import type { PastAttempt } from '../ports.ts'
import type { QueueSnapshot } from '../queue/queue-protocol.ts'

export type EtaNews = Readonly<
  | { type: 'historyLoaded'; past: readonly PastAttempt[] }
  | ({ type: 'attemptSucceeded' } & PastAttempt)
  | { type: 'queueChanged'; queue: QueueSnapshot }
>

export type EtaQuestion = Readonly<
  { type: 'estimate'; jobIds: readonly JobId[] } & Asks<ReadonlyMap<JobId, Estimate>>
>

export type EtaMessage = EtaNews | EtaQuestion

/** What can be said of a job that is queued or running. Of others there is no estimate. */
export type Estimate = Readonly<{
  /** Until its video is there; whole seconds. */
  etaSeconds: number
  /** From 0 to below 1, and never back within an attempt. */
  progress: number
}>

export type EtaState = Readonly<{
  /** Of each GPU, oldest first. */
  past: ReadonlyMap<GpuId, readonly PastAttempt[]>
  queue: QueueSnapshot | undefined
  /** Assumed before there is any history. */
  defaultSeconds: number
}>
