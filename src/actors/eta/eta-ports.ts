import type { ToldEstimate } from '../../domain/estimate.ts'
import type { GenerationStartKind, GpuId, Shape, StageBegins, Timestamp } from '../../domain/job.ts'

/** What the past tells about speed. */
export type AttemptHistory = {
  /** The latest successful attempts of each GPU at this task, oldest first: at most `perGpu` warm and cold ones each. */
  recent(perGpu: number): Promise<readonly PastAttempt[]>
}

export type PastAttempt = Readonly<{
  gpu: GpuId
  /** What the GPU was then; its number may belong to another one by now. */
  gpuModel?: string
  shape: Shape
  /** Without it, an earlier version ran it, and cold. */
  start?: GenerationStartKind
  claimedAt: Timestamp
  /** When its generation ended and its GPU was free. */
  generatedAt: Timestamp
  endedAt: Timestamp
  began?: StageBegins
}>

/** What has been told of jobs, to be held against what became of them. */
export type EstimateLog = {
  record(estimates: readonly ToldEstimate[]): Promise<void>
  /** Of the latest jobs that succeeded at their first attempt, the oldest estimate first. */
  outcomes(limit: number): Promise<readonly EstimateOutcome[]>
}

export type EstimateOutcome = ToldEstimate & Readonly<{ gpu: GpuId; actual: number }>
