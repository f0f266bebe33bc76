/** Which jobs have been kept for long enough. */
import type { Job, Timestamp } from '../../domain/job.ts'
import type { FinishedJob, FinishedStatus } from './janitor-ports.ts'

export type RetentionLimits = Readonly<{
  /** How long what is over is kept; 0: for good. */
  retentionMs: number
  /** What all videos may take together; 0: as much as there is room for. */
  maxResultBytes: number
  /** How long who asks is told that a job has expired. */
  tombstoneMs: number
}>

/** Which jobs that are over: those for which all of this is so. */
export type Selection = Readonly<{
  endedBefore?: Timestamp
  status?: readonly FinishedStatus[]
  /** The oldest videos, until all that are left take at most so much. */
  maxBytes?: number
}>

/** When its time is over; `undefined`: nobody can say, or never. */
export const expiryOf = ({ state, pinnedAt }: Job, retentionMs: number): Timestamp | undefined =>
  retentionMs > 0 && pinnedAt === undefined && 'endedAt' in state
    ? state.endedAt + retentionMs
    : undefined

/** What goes by itself. By age only if the clock can be believed. */
export function selectionsOf(
  { retentionMs, maxResultBytes }: RetentionLimits,
  at: Timestamp,
  isClockRight: boolean,
): Selection[] {
  return [
    ...(retentionMs > 0 && isClockRight ? [{ endedBefore: at - retentionMs }] : []),
    ...(maxResultBytes > 0 ? [{ maxBytes: maxResultBytes }] : []),
  ]
}

export type Choice = Readonly<{
  chosen: readonly FinishedJob[]
  /** Of whose end somebody is still to be told. */
  kept: number
  /** The last one that was thought of. */
  last: FinishedJob | undefined
}>

/** Which of these go, the oldest first: all, or until so much room is made. */
export function choose(
  jobs: readonly FinishedJob[],
  bytesToFree = Number.POSITIVE_INFINITY,
): Choice {
  const chosen: FinishedJob[] = []
  let last: FinishedJob | undefined
  let kept = 0
  let left = bytesToFree
  for (const job of jobs) {
    if (left <= 0) break
    last = job
    if (job.isAwaited) {
      kept += 1
      continue
    }
    chosen.push(job)
    left -= job.bytes
  }
  return { chosen, kept, last }
}

/** What has gone, or would go. */
export type Tally = Readonly<{
  jobs: number
  bytes: number
  /** Of those that go, the first and the last that ended. */
  oldest?: Timestamp
  newest?: Timestamp
  /** Were meant as well, but are being downloaded, have webhooks that are not over, or would not go. */
  kept: number
}>

export const nothing: Tally = { jobs: 0, bytes: 0, kept: 0 }

/** Jobs come in the order of their ends. */
export function count(tally: Tally, jobs: readonly FinishedJob[], kept: number): Tally {
  const [first] = jobs
  const last = jobs.at(-1)
  return {
    ...tally,
    jobs: tally.jobs + jobs.length,
    bytes: tally.bytes + bytesOf(jobs),
    ...(first && { oldest: tally.oldest ?? first.endedAt }),
    ...(last && { newest: last.endedAt }),
    kept: tally.kept + kept,
  }
}

export const bytesOf = (jobs: readonly FinishedJob[]): number =>
  jobs.reduce((sum, { bytes }) => sum + bytes, 0)
