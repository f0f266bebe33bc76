import type { Disk } from '../../domain/disk.ts'
import type { Hold } from '../../domain/hold.ts'
import type { GpuId, JobId, JobStatus, Timestamp } from '../../domain/job.ts'
/** What is done for the disks besides working on them. */
export type Housekeeping = {
  /** Each place that is written to, though several may be on one disk. */
  measure(): Promise<readonly Disk[]>
  /**
   * Backs up the database for this day (`2026-07-31`) unless that has been done. `mayPrune`: may
   * delete the oldest backups.
   */
  backUp(day: string, mayPrune: boolean): Promise<void>
  /** Keeps back some room for what must be written on a full disk. */
  restoreReserve(): Promise<void>
  /** Removes logs and archived work that are older and belong to no job. */
  removeLeftOvers(before: Timestamp): Promise<void>
}

/** What is to be known of jobs to say which of them have been kept long enough. */
export type RetentionStore = {
  /** When the last job ended that is over and not pinned. */
  latestEnd(): Promise<Timestamp | undefined>
  /** Remembers that the service runs now, and the hold on deletions, for the next start. */
  noteClock(hold: Hold | undefined): Promise<void>
  /** Bytes of all videos that are there, without those that were made on these GPUs. */
  videoBytes(away: readonly GpuId[]): Promise<number>
  /** Jobs that are over and not pinned: the one that ended first comes first. */
  finished(filter: FinishedFilter): Promise<readonly FinishedJob[]>
}

export type FinishedFilter = Readonly<{
  limit: number
  /** Begins behind this one. */
  after?: Pick<FinishedJob, 'endedAt' | 'seq'>
  endedBefore?: Timestamp
  status?: readonly FinishedStatus[]
  /** Only jobs whose file is there. */
  withVideo?: boolean
  /** No jobs with a file that was made on these GPUs: their machines are away. */
  away?: readonly GpuId[]
}>

export type FinishedStatus = Extract<JobStatus, 'success' | 'error' | 'canceled'>

export type FinishedJob = Readonly<{
  jobId: JobId
  seq: number
  endedAt: Timestamp
  /** What its video takes; 0: there is none. */
  bytes: number
  /** Somebody is still to be told of its end. */
  isAwaited: boolean
}>
