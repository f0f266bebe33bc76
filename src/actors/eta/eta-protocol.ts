import type { Checkpoint, EtaSource } from '../../domain/estimate.ts'
import type { GpuId, JobId, Timestamp } from '../../domain/job.ts'
import type { Asks } from '../actor.ts'
import type { FinishedAttempt } from '../queue/queue-protocol.ts'
import type { QueueSnapshot } from '../queue/queue-state.ts'
import type { EstimateOutcome, PastAttempt } from './eta-ports.ts'

export type EtaNews = Readonly<
  | { type: 'historyLoaded'; past: readonly PastAttempt[]; outcomes: readonly EstimateOutcome[] }
  | { type: 'historyFailed'; error: unknown }
  | { type: 'attemptSucceeded'; attempt: FinishedAttempt }
  | { type: 'queueChanged'; queue: QueueSnapshot }
  /** A forecast is made in turns, so that others get theirs. */
  | { type: 'forecastDue' }
  | { type: 'checkpointsDue' }
  /** Estimates could not be written. */
  | { type: 'recordFailed'; error: unknown }
>

export type EtaQuestion = Readonly<
  | ({ type: 'estimate'; jobIds: readonly JobId[] } & Asks<ReadonlyMap<JobId, Estimate>>)
  /** Undefined while the queue is not known. */
  | ({ type: 'estimateNext' } & Asks<NextJob | undefined>)
  | ({ type: 'reviewEstimates' } & Asks<EstimateReview>)
>

export type EtaMessage = EtaNews | EtaQuestion

/** What can be said of a job that is queued or running. Of others there is no estimate. */
export type Estimate = Readonly<{
  /** Seconds until its video is there: one in ten before `p10`, half before `p50`, nine in ten before `p90`. */
  p10: number
  p50: number
  p90: number
  /** When half of such videos are there. */
  etaAt: Timestamp
  source: EtaSource
  /** From 0 to below 1, and never back within an attempt. */
  progress: number
}>

/** A usual job, if it were submitted now. */
export type NextJob = Readonly<{
  position: number
  /** Absent: no GPU takes jobs, or the queue has not been played to its end. */
  estimate?: Estimate
}>

/** How far told times were from what became true. */
export type EstimateReview = Readonly<{
  jobs: number
  since?: Timestamp
  checkpoints: Readonly<Partial<Record<Checkpoint, CheckpointReview>>>
  gpus: ReadonlyMap<GpuId, Readonly<Partial<Record<Checkpoint, CheckpointReview>>>>
}>

export type CheckpointReview = Readonly<{
  estimates: number
  /** Of the time that was left: the mean of how far off it was, and the middle one. */
  meanErrorPercent: number
  medianErrorPercent: number
  /** Above 0: it took longer than told. */
  biasPercent: number
  /** Share that ended between p10 and p90; 80 if all is well. */
  withinPercent: number
  /** Seconds that estimates were off, the middle one. */
  medianErrorSeconds: number
}>
