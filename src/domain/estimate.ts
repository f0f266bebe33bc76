import type { JobId, Timestamp } from './job.ts'
/** When an estimate is kept: at the submission, and when its progress gets there. */
export const checkpoints = ['submit', '25', '50', '75'] as const

export type Checkpoint = (typeof checkpoints)[number]

/** What an estimate rests on: the run itself as our launcher or its output tell it, past runs, nothing. */
export const etaSources = ['events', 'log', 'history', 'default'] as const

export type EtaSource = (typeof etaSources)[number]

/** Seconds from `at` until the video is there. */
export type ToldEstimate = Readonly<{
  jobId: JobId
  checkpoint: Checkpoint
  at: Timestamp
  source: EtaSource
  /** One in ten videos is there before `p10`, half by `p50`, nine in ten by `p90`. */
  p10: number
  p50: number
  p90: number
  /** Expected standard deviation of the logarithm, before it was corrected by experience. */
  spread: number
}>
