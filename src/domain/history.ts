/** What the record tells of the past, for people to look at. */
import type { Scope } from './client.ts'
import type { GpuId, JobId, Timestamp } from './job.ts'

export type History = {
  load(stretch: Stretch): Promise<Load>
  /** GPU time that went into importing and loading. */
  loadingCost(span: Readonly<{ from: Timestamp; to: Timestamp }>): Promise<LoadingCost>
  /** What was told at the submission of the latest videos that needed one attempt, latest first. */
  estimates(limit: number, scope: Scope): Promise<readonly KeptEstimate[]>
}

/** A time up to now, cut into steps of equal length. */
export type Stretch = Readonly<{ from: Timestamp; stepMs: number; steps: number }>

export type Load = Readonly<{
  /** How many jobs waited at the end of each step. */
  waiting: readonly number[]
  /** For how much of each step a GPU had a generation, from 0 to 1. */
  busy: ReadonlyMap<GpuId, readonly number[]>
}>

/** Generations, and the time that they took from their claim to a pipeline that was there. */
export type StartsCost = Readonly<{ starts: number; ms: number }>

export type LoadingCost = Readonly<{
  cold: StartsCost
  /** `coldMs`: what the same starts would have taken cold. Absent where no cold run says. */
  warm: StartsCost & Readonly<{ coldMs?: number }>
  /** Number of cold runs that `coldMs` rests on. */
  coldRuns: number
  /** Generations of which nobody knows how they were started, or when they had loaded. */
  unknown: number
}>

/** Seconds from `at` until the video was expected, and until it was there. */
export type KeptEstimate = Readonly<{
  jobId: JobId
  at: Timestamp
  p10: number
  p50: number
  p90: number
  actual: number
}>
