/** Estimates from a view of the queue and the past. A value: it uses no actor, clock or store. */

import type { EtaSource } from '../../domain/estimate.ts'
import type { GpuId, JobId, Timestamp } from '../../domain/job.ts'
import { get, type OrderedMap, remove, set, size } from '../ordered-map.ts'
import { nodeNameOf } from '../queue/nodes.ts'
import type { QueueSnapshot } from '../queue/queue-state.ts'
import type { RunningJob } from '../queue/running-jobs.ts'
import { nearestCheckpoint } from './calibration.ts'
import type { Outlook } from './duration.ts'
import type { EstimateOutcome, PastAttempt } from './eta-ports.ts'
import type { NextJob } from './eta-protocol.ts'
import {
  claimsDiffer,
  type Forecast,
  isPlayed,
  outlookIn,
  outlookOfNext,
  play,
  startForecast,
} from './forecast.ts'
import * as knowledge from './knowledge.ts'
import { outlookOf, progressOf } from './running.ts'
import { learn, loadOf, type SpeedModelOptions } from './speed-model.ts'
import { type Told, toTold } from './told.ts'
import { hasLoaded, isColdAt, startOf, type Track } from './track.ts'

/**
 * Everything that is derived and can be derived again: the model of speeds, the forecast of the
 * queue, the plans that progress goes by. Polls only read it, however long the queue is.
 */
export type Estimator = Readonly<{
  knowledge: knowledge.Knowledge
  queue: QueueSnapshot | undefined
  /** Whether the next generation is forked from a template: that of the first node stands for those of all. */
  startsWarm: boolean
  tracks: OrderedMap<JobId, Track>
  /** The forecast that is read. */
  forecast: Forecast | undefined
  /** The forecast that replaces it when it is whole, and its cost so far in milliseconds. */
  next: Readonly<{ forecast: Forecast; costMs: number }> | undefined
  isStale: boolean
  /** No forecast starts before this time. */
  dueAt: number
}>

/** The clocks of the caller, and what is read with them. */
export type Clock = Readonly<{
  /** By a clock that nobody sets (`steadyNow`). */
  now: Timestamp
  /** How far the wall clock has been set. */
  shiftMs?: number
  /** Whether the next generation is forked from a template. */
  startsWarm?: boolean
  /** Milliseconds since an arbitrary moment, to measure the cost of a forecast. */
  stopwatch(): number
}>

/** How many waiting jobs are played forward before others get their turn. */
const jobsPerTurn = 1_000

/** A forecast takes no more than this share of the time. */
const shareOfTime = 1 / 20

/** With nothing new at all it is made anew: what is overdue has become more so. */
const freshMs = 5_000

/**
 * After a restart the plans of running jobs are made from what was known at their claims, so that their progress does
 * not go back. Past attempts that may be read for that, all jobs together: some 2 s. Above that, one model serves all.
 */
const maxReplayed = 16_000

/** A running job's estimate serves all who ask within this time. */
const toldForMs = 200

export const createEstimator = (options: SpeedModelOptions): Estimator => ({
  knowledge: knowledge.knowNothing(options),
  queue: undefined,
  startsWarm: false,
  tracks: undefined,
  forecast: undefined,
  next: undefined,
  isStale: true,
  dueAt: Number.NEGATIVE_INFINITY,
})

export const remember = (
  estimator: Estimator,
  attempts: readonly PastAttempt[],
  outcomes: readonly EstimateOutcome[] = [],
): Estimator => ({
  ...estimator,
  knowledge: knowledge.remember(estimator.knowledge, attempts, outcomes),
})

/** A new model makes the forecast stale. */
export function learnIfDue(estimator: Estimator, now: Timestamp): Estimator {
  const learned = knowledge.learnIfDue(estimator.knowledge, now)
  if (learned === estimator.knowledge) return estimator
  return { ...estimator, knowledge: learned, isStale: true }
}

export function see(estimator: Estimator, seen: QueueSnapshot): Estimator {
  const { queue: before } = estimator
  const isStale =
    estimator.isStale ||
    before?.running !== seen.running ||
    before.readyGpus !== seen.readyGpus ||
    before.givenUpGpus !== seen.givenUpGpus ||
    before.gpuHealth !== seen.gpuHealth ||
    before.gpus !== seen.gpus ||
    claimsDiffer(before, seen) ||
    size(seen.waiting) < size(before.waiting)
  let { tracks } = estimator
  for (const { jobId } of seen.running.goneSince(before?.running)) tracks = remove(tracks, jobId)
  return { ...estimator, queue: seen, isStale, tracks }
}

/** How long each GPU is taken by the usual video, if anything is known of any. */
export const secondsPerJob = (estimator: Estimator): ReadonlyMap<GpuId, number> =>
  knowledge.secondsPerJob(estimator.knowledge)

export const loadSeconds = (estimator: Estimator): ReadonlyMap<GpuId, number> =>
  knowledge.loadSeconds(estimator.knowledge)

/** Plays one turn of the next forecast if it is time. `isPlaying` says whether it needs another. */
export function goOn(before: Estimator, { now, startsWarm = false, stopwatch }: Clock): Estimator {
  const isAsBefore = before.startsWarm === startsWarm
  const estimator = isAsBefore ? before : { ...before, startsWarm, isStale: true }
  const { queue } = estimator
  if (!queue) return estimator
  const from = stopwatch()
  const begun = beginForecast(learnIfDue(estimator, now), queue, now)
  if (!begun.next) return begun
  const { forecast, isWhole } = play(begun.next.forecast, queue, jobsPerTurn)
  const costMs = begun.next.costMs + stopwatch() - from
  if (!isWhole) return { ...begun, next: { forecast, costMs } }
  return { ...begun, forecast, next: undefined, dueAt: now + costMs / shareOfTime }
}

export const isPlaying = ({ next }: Estimator): boolean => next !== undefined

/** Estimate of a job, and the estimator that remembers it. Undefined for a job without estimate. */
export function estimateJob(
  estimator: Estimator,
  jobId: JobId,
  now: Timestamp,
): readonly [Estimator, Told | undefined] {
  const { queue } = estimator
  if (!queue) return [estimator, undefined]
  const running = queue.running.get(jobId)
  if (running) return tellRunning(estimator, queue, running, now)
  const seq = get(queue.seqOf, jobId)
  return seq === undefined ? [estimator, undefined] : tellWaiting(estimator, queue, seq, now)
}

/** How far a running job has come, for a fraction of the cost of its estimate. */
export function progressOfRunning(
  estimator: Estimator,
  job: RunningJob,
  now: Timestamp,
): readonly [Estimator, number] {
  const { queue } = estimator
  if (!queue) return [estimator, 0]
  const [tracked, { progress, plan }] = trackOf(estimator, queue, job, now)
  return [tracked, Math.max(progress, progressOf(job, plan, now))]
}

/** Outlook of a usual job that would be submitted now. Undefined while the queue is not known. */
export function estimateNext(
  estimator: Estimator,
  now: Timestamp,
): readonly [Estimator, NextJob | undefined] {
  const { queue } = estimator
  if (!queue) return [estimator, undefined]
  const position = size(queue.waiting) + 1
  if (!estimator.forecast) return [estimator, { position }]
  const { forecast, isWhole } = play(estimator.forecast, queue, jobsPerTurn)
  const played = { ...estimator, forecast }
  const { usual } = estimator.knowledge.options.defaults
  const outlook = isWhole && outlookOfNext(forecast, usual)
  if (!outlook) return [played, { position }]
  return [played, { position, estimate: tellOutlook(played, forecast, outlook, now) }]
}

function tellRunning(
  estimator: Estimator,
  queue: QueueSnapshot,
  job: RunningJob,
  now: Timestamp,
): readonly [Estimator, Told] {
  const latest = get(estimator.tracks, job.jobId)?.latest
  if (latest?.job === job && now >= latest.at && now - latest.at < toldForMs)
    return [estimator, latest.told]
  const [looked, { track, outlook }] = lookAt(estimator, queue, job, now)
  const progress = Math.max(track.progress, progressOf(job, track.plan, now))
  const width = looked.knowledge.calibrations[nearestCheckpoint(progress)]
  const told = toTold(outlook.video, width, sourceOf(looked, job), progress, now)
  return [
    withTrack(looked, job.jobId, { ...track, progress, latest: { job, told, at: now } }),
    told,
  ]
}

/** New jobs at the end are played when somebody asks for them; all else is only read. */
function tellWaiting(
  estimator: Estimator,
  queue: QueueSnapshot,
  seq: number,
  now: Timestamp,
): readonly [Estimator, Told | undefined] {
  const played = playUpTo(estimator, queue, seq)
  const known = played.forecast ?? played.next?.forecast
  const outlook = known && outlookIn(known, seq)
  if (!known || !outlook) return [played, undefined]
  return [played, tellOutlook(played, known, outlook, now)]
}

function tellOutlook(
  estimator: Estimator,
  { at }: Pick<Forecast, 'at'>,
  outlook: Outlook,
  now: Timestamp,
): Told {
  const median = outlook.median - (now - at) / 1000
  const width = estimator.knowledge.calibrations.submit
  return toTold({ ...outlook, median }, width, sourceOf(estimator), 0, now)
}

function playUpTo(estimator: Estimator, queue: QueueSnapshot, seq: number): Estimator {
  const { forecast } = estimator
  if (!forecast || isPlayed(forecast, seq)) return estimator
  return { ...estimator, forecast: play(forecast, queue, jobsPerTurn).forecast }
}

function sourceOf({ knowledge: { model } }: Estimator, job?: RunningJob): EtaSource {
  const heard = job?.phase === 'generating' ? job.reading?.source : undefined
  return heard ?? (model.isLearned ? 'history' : 'default')
}

/** Starts the next forecast if none is being played and the current one is due for replacement. */
function beginForecast(estimator: Estimator, queue: QueueSnapshot, now: Timestamp): Estimator {
  const { forecast, next, isStale, dueAt } = estimator
  if (next) return estimator
  const isOld = forecast === undefined || now - forecast.at > freshMs || now < forecast.at
  if (forecast && !(isStale || isOld)) return estimator
  if (forecast && now < dueAt && now >= forecast.at) return estimator
  const generating = [...queue.running.values()].filter(({ phase }) => phase === 'generating')
  let looked = estimator
  const busy = generating.map((job) => {
    const [after, { outlook }] = lookAt(looked, queue, job, now)
    looked = after
    const { gpu: gpuLeft, load: loadLeft } = outlook
    return { gpu: job.gpu, gpuLeft, loadLeft, isLoading: !hasLoaded(job) && !job.isLoadOverdue }
  })
  const start = { at: now, startsWarm: estimator.startsWarm }
  const started = startForecast(queue, busy, looked.knowledge.model, start)
  return { ...looked, next: { forecast: started, costMs: 0 }, isStale: false }
}

function lookAt(estimator: Estimator, queue: QueueSnapshot, job: RunningJob, now: Timestamp) {
  const [tracked, track] = trackOf(estimator, queue, job, now)
  const looked = learnIfDue(tracked, now)
  const plan = looked.knowledge.model.plan(job.gpu, job.shape, track.load)
  return [looked, { track, outlook: outlookOf(job, plan, now) }] as const
}

/** The plan that progress goes by is what the past had taught when the attempt was claimed. */
function trackOf(
  estimator: Estimator,
  queue: QueueSnapshot,
  job: RunningJob,
  now: Timestamp,
): readonly [Estimator, Track] {
  const of = get(estimator.tracks, job.jobId)
  const known = of?.epoch === job.epoch ? of : undefined
  const node = nodeNameOf(queue, job.gpu)
  const start = startOf(job, known, estimator)
  if (known && (known.load === 'forked') === (start === 'warm')) return [estimator, known]
  const { epoch, gpu, shape, claimedAt } = job
  const { past, options } = estimator.knowledge
  const before = past.filter(({ endedAt }) => endedAt < claimedAt)
  const isAll = before.length === past.length || past.length * queue.running.size > maxReplayed
  const learned = isAll ? learnIfDue(estimator, now) : estimator
  const model = isAll ? learned.knowledge.model : learn(before, options)
  const load = loadOf(start, isColdAt(learned.knowledge.model, queue, node, claimedAt))
  const { progress = 0 } = known ?? {}
  const track = { epoch, load, plan: model.plan(gpu, shape, load), progress }
  return [withTrack(learned, job.jobId, track), track]
}

const withTrack = (estimator: Estimator, jobId: JobId, track: Track): Estimator => ({
  ...estimator,
  tracks: set(estimator.tracks, jobId, track),
})
