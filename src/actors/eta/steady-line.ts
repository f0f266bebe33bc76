/**
 * The queue on the steady clock. Its times are of the wall clock, as people read them; estimates
 * need to know how long ago something was, also when the clock was set meanwhile. The times of an
 * attempt are moved by as much as the clock had been set when the attempt was first seen.
 */
import type { JobId } from '../../domain/job.ts'
import { get, type OrderedMap, remove, set, values } from '../ordered-map.ts'
import type { FinishedAttempt } from '../queue/queue-protocol.ts'
import type { QueueSnapshot } from '../queue/queue-state.ts'
import { type RunningJob, RunningJobs } from '../queue/running-jobs.ts'

export type SteadyLine = Readonly<{
  /** The queue as it was told last. */
  told?: QueueSnapshot
  /** Attempts whose times have been moved. Empty while the clock has not been set. */
  moved: OrderedMap<JobId, Moved>
  running?: RunningJobs
  /** Those that left the queue with the latest change. */
  left: OrderedMap<JobId, Moved>
}>

/** By how much, in milliseconds. */
type Moved = Readonly<{ told: RunningJob; job: RunningJob; byMs: number; generatedByMs: number }>

export const newLine: SteadyLine = { moved: undefined, left: undefined }

/** `shiftMs`: how far the clock has been set by now. */
export function toSteady(
  line: SteadyLine,
  told: QueueSnapshot,
  shiftMs: number,
): readonly [SteadyLine, QueueSnapshot] {
  if (shiftMs === 0 && !line.moved)
    return [line.left ? { ...newLine, told } : { ...line, told }, told]
  if (line.running && line.told?.running === told.running)
    return [
      { ...line, told },
      { ...onLine(told, shiftMs), running: line.running },
    ]
  const next = moveAll(line, told.running, shiftMs)
  if (shiftMs === 0 && isAsTold(next.moved)) return [{ ...newLine, told, left: next.left }, told]
  return [
    { told, ...next },
    { ...onLine(told, shiftMs), running: next.running },
  ]
}

/** Moves the attempts that have changed; all of them when the clock has just been set. */
function moveAll(line: SteadyLine, told: RunningJobs, shiftMs: number) {
  const before = line.running && line.told?.running
  let { moved, running = RunningJobs.of([]) } = line
  for (const job of told.changedSince(before)) {
    const next = move(line, job, shiftMs)
    moved = set(moved, job.jobId, next)
    running = running.set(next.job)
  }
  let left: SteadyLine['left']
  for (const { jobId } of told.goneSince(before)) {
    const gone = get(moved, jobId)
    if (gone) left = set(left, jobId, gone)
    moved = remove(moved, jobId)
    running = running.delete(jobId)
  }
  return { moved, running, left }
}

function isAsTold(moved: SteadyLine['moved']): boolean {
  for (const { told, job } of values(moved)) if (told !== job) return false
  return true
}

function move(line: SteadyLine, job: RunningJob, shiftMs: number): Moved {
  const known = get(line.moved, job.jobId) ?? unmoved(line.told?.running.get(job.jobId))
  const before = known?.told.epoch === job.epoch ? known : undefined
  if (before?.told === job) return before
  const byMs = before?.byMs ?? shiftMs
  const isSeen = before?.told.generatedAt !== undefined
  const generatedByMs = isSeen ? before.generatedByMs : shiftMs
  return { told: job, job: movedBy(job, byMs, generatedByMs), byMs, generatedByMs }
}

/** Seen before the clock was set for the first time. */
const unmoved = (job: RunningJob | undefined): Moved | undefined =>
  job && { told: job, job, byMs: 0, generatedByMs: 0 }

function movedBy(job: RunningJob, byMs: number, generatedByMs: number): RunningJob {
  if (byMs === 0 && generatedByMs === 0) return job
  const { claimedAt, generatedAt, reading, trace } = job
  return {
    ...job,
    claimedAt: claimedAt - byMs,
    ...(generatedAt !== undefined && { generatedAt: generatedAt - generatedByMs }),
    ...(reading && { reading: { ...reading, ...timesOf(reading, byMs) } }),
    ...(trace && { trace: { ...trace, ...timesOf(trace, byMs) } }),
  }
}

function timesOf(
  { began, steppedAt }: Pick<NonNullable<RunningJob['reading']>, 'began' | 'steppedAt'>,
  byMs: number,
) {
  const earlier = began && Object.entries(began).map(([stage, at]) => [stage, at - byMs])
  return {
    ...(earlier && { began: Object.fromEntries(earlier) as NonNullable<typeof began> }),
    ...(steppedAt !== undefined && { steppedAt: steppedAt - byMs }),
  }
}

/** Quarantines last an hour at most: one that began before the clock was set is soon over. */
function onLine(told: QueueSnapshot, shiftMs: number): QueueSnapshot {
  if (shiftMs === 0) return told
  const gpuHealth = new Map(
    [...told.gpuHealth].map(([gpu, { quarantine, ...health }]) => {
      if (quarantine?.until === undefined)
        return [gpu, { ...health, ...(quarantine && { quarantine }) }]
      return [gpu, { ...health, quarantine: { ...quarantine, until: quarantine.until - shiftMs } }]
    }),
  )
  return { ...told, gpuHealth }
}

/** Undefined when the clock was set while the attempt ran: nobody knows how long it took. */
export function attemptToSteady(
  { moved, left }: SteadyLine,
  attempt: FinishedAttempt,
  shiftMs: number,
): FinishedAttempt | undefined {
  const byMs = (get(left, attempt.jobId) ?? get(moved, attempt.jobId))?.byMs ?? 0
  if (byMs !== shiftMs) return undefined
  if (byMs === 0) return attempt
  const { claimedAt, generatedAt, endedAt, began } = attempt
  return {
    ...attempt,
    claimedAt: claimedAt - byMs,
    generatedAt: generatedAt - byMs,
    endedAt: endedAt - byMs,
    ...timesOf({ ...(began && { began }) }, byMs),
  }
}
