/** From a view of the queue and the past to what is told: no actor, no clock, no store. */

import type { EtaSource } from '../../domain/estimate.ts'
import type { GpuId, JobId, Timestamp } from '../../domain/job.ts'
import { get, size } from '../ordered-map.ts'
import type { QueueSnapshot, RunningJob } from '../queue/queue-protocol.ts'
import { type Calibrations, calibrate, nearestCheckpoint } from './calibration.ts'
import { type Outlook, relativeSpread } from './duration.ts'
import type { EstimateOutcome, PastAttempt } from './eta-ports.ts'
import type { Estimate } from './eta-protocol.ts'
import { createForecast, type Forecast } from './forecast.ts'
import type { Plan } from './published-speeds.ts'
import { outlookOf, progressOf } from './running.ts'
import {
  attemptsKept,
  learn,
  onGpu,
  type SpeedModel,
  type SpeedModelOptions,
} from './speed-model.ts'

/** What is told, and how sure it was before experience corrected that. */
export type Told = Estimate & Readonly<{ spread: number }>

/** How many waiting jobs are played forward before others get their turn. */
const jobsPerTurn = 1_000

/** A forecast takes no more than this share of the time. */
const shareOfTime = 1 / 20

/** With nothing new at all it is made anew: what is overdue has become more so. */
const freshMs = 5_000

/** So few attempts may be learned from at once, more only so often. */
const learnedAtOnce = 20
const learnEveryMs = 1_000

/** A running job's estimate serves all who ask within this time. */
const toldForMs = 200

export type Estimator = ReturnType<typeof createEstimator>

/**
 * Owns everything that is derived and can be derived again: the model of speeds, the forecast of
 * the queue, the plans that progress goes by. Polls only read it, however long the queue is.
 */
export function createEstimator(options: SpeedModelOptions) {
  let past: readonly PastAttempt[] = []
  let outcomes: readonly EstimateOutcome[] = []
  let queue: QueueSnapshot | undefined
  let model = learn(past, options)
  let calibrations: Calibrations = calibrate(outcomes)
  let unlearned = 0
  let learnedAt = Number.NEGATIVE_INFINITY
  const tracks = new Map<JobId, Track>()
  const recent = new WeakMap<RunningJob, { told: Told; at: Timestamp }>()

  let forecast: Forecast | undefined
  let next: { forecast: Forecast; costMs: number } | undefined
  let isStale = true
  let dueAt = Number.NEGATIVE_INFINITY

  return {
    remember(attempts: readonly PastAttempt[], known: readonly EstimateOutcome[] = []): void {
      past = trim([...past, ...attempts].sort((a, b) => a.endedAt - b.endedAt))
      outcomes = [...outcomes, ...known].slice(-500)
      calibrations = calibrate(outcomes)
      unlearned += attempts.length
    },

    see(seen: QueueSnapshot): void {
      const before = queue
      queue = seen
      for (const jobId of tracks.keys()) if (!seen.running.has(jobId)) tracks.delete(jobId)
      isStale ||=
        before?.running !== seen.running ||
        before.readyGpus !== seen.readyGpus ||
        before.givenUpGpus !== seen.givenUpGpus ||
        before.gpuHealth !== seen.gpuHealth ||
        before.hasRoom !== seen.hasRoom ||
        size(seen.waiting) < size(before.waiting)
    },

    /** How long each GPU is taken by the usual video, if anything is known of any. */
    secondsPerJob(now: Timestamp): ReadonlyMap<GpuId, number> {
      const { isLearned, plan } = modelAt(now)
      const gpus = isLearned ? [...options.kinds.keys()] : []
      return new Map(
        gpus.map((gpu) => [gpu, onGpu(plan(gpu, options.defaults.usual, false)).median]),
      )
    },

    /** Makes the forecast anew if it is time, a turn's worth of it; true when it needs another. */
    goOn(now: Timestamp): boolean {
      return queue !== undefined && !isFresh(queue, now)
    },

    tell(jobId: JobId, now: Timestamp): Told | undefined {
      if (!queue) return undefined
      const running = queue.running.get(jobId)
      if (running) return tellRunning(running, queue, now)
      const seq = get(queue.seqOf, jobId)
      return seq === undefined ? undefined : tellWaiting(seq, queue, now)
    },
  }

  function modelAt(now: Timestamp): SpeedModel {
    const isDue = unlearned > 0 && (past.length < learnedAtOnce || now - learnedAt > learnEveryMs)
    if (!isDue) return model
    model = learn(past, options)
    unlearned = 0
    learnedAt = now
    isStale = true
    return model
  }

  function tellRunning(job: RunningJob, among: QueueSnapshot, now: Timestamp): Told {
    const known = recent.get(job)
    if (known && now >= known.at && now - known.at < toldForMs) return known.told
    const { video } = lookAt(job, among, now)
    const track = trackOf(job, among, now)
    track.progress = Math.max(track.progress, progressOf(job, track.plan, now))
    const width = calibrations[nearestCheckpoint(track.progress)]
    const told = toTold(video, width, sourceOf(job), track.progress, now)
    recent.set(job, { told, at: now })
    return told
  }

  function tellWaiting(seq: number, among: QueueSnapshot, now: Timestamp): Told | undefined {
    // New ones at the end are played when somebody asks for them; all else is only read.
    if (forecast && !forecast.isPlayed(seq)) forecast.play(among, jobsPerTurn)
    const known = forecast ?? next?.forecast
    const outlook = known?.of(seq)
    if (!known || !outlook) return undefined
    const median = outlook.median - (now - known.at) / 1000
    return toTold({ ...outlook, median }, calibrations.submit, sourceOf(), 0, now)
  }

  function sourceOf(job?: RunningJob): EtaSource {
    const heard = job?.phase === 'generating' ? job.reading?.source : undefined
    return heard ?? (model.isLearned ? 'history' : 'default')
  }

  function isFresh(among: QueueSnapshot, now: Timestamp): boolean {
    modelAt(now)
    if (!next) {
      const isOld = forecast === undefined || now - forecast.at > freshMs || now < forecast.at
      if (forecast && !(isStale || isOld)) return true
      if (forecast && now < dueAt && now >= forecast.at) return true
      next = { forecast: startForecast(among, now), costMs: 0 }
      isStale = false
    }
    const begin = performance.now()
    const isWhole = next.forecast.play(among, jobsPerTurn)
    next.costMs += performance.now() - begin
    if (!isWhole) return false
    forecast = next.forecast
    dueAt = now + next.costMs / shareOfTime
    next = undefined
    return true
  }

  function startForecast(among: QueueSnapshot, now: Timestamp): Forecast {
    const busy = [...among.running.values()]
      .filter(({ phase }) => phase === 'generating')
      .map((job) => {
        const { gpu, load } = lookAt(job, among, now)
        return { gpu: job.gpu, gpuLeft: gpu, loadLeft: load, isLoading: !hasLoaded(job) }
      })
    return createForecast(among, busy, model, { at: now, isCold: isColdAt(now, among) })
  }

  function lookAt(job: RunningJob, among: QueueSnapshot, now: Timestamp) {
    const { isCold } = trackOf(job, among, now)
    return outlookOf(job, modelAt(now).plan(job.gpu, job.shape, isCold), now)
  }

  /** The plan that progress goes by is what the past had taught when the attempt was claimed. */
  function trackOf(job: RunningJob, among: QueueSnapshot, now: Timestamp): Track {
    const known = tracks.get(job.jobId)
    if (known?.epoch === job.epoch) return known
    const { epoch, gpu, shape, claimedAt } = job
    const before = past.filter(({ endedAt }) => endedAt < claimedAt)
    const then = before.length === past.length ? modelAt(now) : learn(before, options)
    const isCold = isColdAt(claimedAt, among)
    const track = { epoch, isCold, plan: then.plan(gpu, shape, isCold), progress: 0 }
    tracks.set(job.jobId, track)
    return track
  }

  function isColdAt(at: Timestamp, { running }: QueueSnapshot): boolean {
    const isWarm = [...running.values()].some(
      ({ reading, trace, generatedAt = Number.POSITIVE_INFINITY }) =>
        ((reading ?? trace)?.began?.encoding ?? generatedAt) < at,
    )
    return !isWarm && model.isCold(at)
  }
}

type Track = { epoch: number; isCold: boolean; plan: Plan; progress: number }

const hasLoaded = ({ reading }: RunningJob): boolean =>
  reading !== undefined && reading.stage !== 'loading'

/** The latest of each GPU. */
function trim(past: readonly PastAttempt[]): readonly PastAttempt[] {
  const counts = new Map<GpuId, number>()
  return past
    .toReversed()
    .filter(({ gpu }) => {
      const count = (counts.get(gpu) ?? 0) + 1
      counts.set(gpu, count)
      return count <= attemptsKept
    })
    .reverse()
}

function toTold(
  outlook: Outlook,
  width: number,
  source: EtaSource,
  progress: number,
  now: Timestamp,
): Told {
  const spread = relativeSpread(outlook)
  const p50 = Math.max(minSeconds, outlook.median)
  const factor = Math.exp(Math.min(widest, width * spread))
  return {
    p10: p50 / factor,
    p50,
    p90: p50 * factor,
    etaAt: Math.round(now + p50 * 1000),
    source,
    progress,
    spread,
  }
}

/** A video that is not there is not there in no time. */
const minSeconds = 0.1

/** Who is less sure than that, a factor of twelve, should not make it sound like a prediction. */
const widest = 2.5
