import type { GpuId, JobId, Reading, Stage, Timestamp } from '../../job.ts'
import type { PastAttempt } from '../ports.ts'
import { get, rank } from '../queue/ordered-map.ts'
import type { QueueSnapshot, RunningJob } from '../queue/queue-protocol.ts'
import { isTrusted } from '../queue/queue-state.ts'
import type { Estimate, EtaState } from './eta-protocol.ts'

/** How many past attempts of a GPU its average is taken over. */
export const historyLength = 50

/** Assumed before there is any history; measured 3 s for 121 frames on 2 cores (facts: §10). */
const defaultConversionSeconds = 5

/** Promised a little later than expected: a video that comes early disappoints nobody. */
const caution = 1.05

export function remember(
  past: EtaState['past'],
  attempt: PastAttempt,
): ReadonlyMap<GpuId, readonly PastAttempt[]> {
  const ofGpu = [...(past.get(attempt.gpu) ?? []), attempt].slice(-historyLength)
  return new Map([...past, [attempt.gpu, ofGpu]])
}

/** How long each GPU is taken by a job, by its own past; those without a past are not in it. */
export const secondsPerJob = (past: EtaState['past']): ReadonlyMap<GpuId, number> =>
  new Map([...past].map(([gpu, attempts]) => [gpu, average(attempts, 'generationSeconds')]))

/**
 * Plays the queue forward over all GPUs with their own averages. Asked for many jobs, it plays once:
 * `ends` grows only as far as the furthest position asked for, and serves until the queue's
 * running jobs or the history change.
 */
export function createForecast(
  { past, defaultSeconds }: Pick<EtaState, 'past' | 'defaultSeconds'>,
  queue: Pick<QueueSnapshot, 'settings' | 'running' | 'readyGpus' | 'gpuHealth'>,
  at: Timestamp,
) {
  const known = secondsPerJob(past)
  const typical = known.size ? mean([...known.values()]) : defaultSeconds
  const ofGpu = (gpu: GpuId) => known.get(gpu) ?? typical
  const all = [...past.values()].flat()
  const conversion = all.length ? average(all, 'conversionSeconds') : defaultConversionSeconds

  /** Seconds until it is done, `elapsed` seconds after `at`. */
  const remaining = (job: RunningJob, elapsed = 0): number => {
    const from = job.phase === 'converting' ? (job.generatedAt ?? at) : job.claimedAt
    const whole = job.phase === 'converting' ? conversion : ofGpu(job.gpu)
    const left = Math.max(0, whole - (at - from) / 1000 - elapsed)
    return job.phase === 'converting' ? left : left + conversion
  }

  const busy = [...queue.running.values()].filter(({ phase }) => phase === 'generating')
  // Others end what they run, and get nothing more.
  const gpus = queue.settings.gpus
    .filter((gpu) => queue.readyGpus.has(gpu) || busy.some((job) => job.gpu === gpu))
    .filter((gpu) => isTrusted(queue, gpu))
  const freeIn = new Map(
    gpus.map((gpu) => {
      const job = busy.find((running) => running.gpu === gpu)
      return [gpu, job ? Math.max(0, remaining(job) - conversion) : 0]
    }),
  )
  const ends: number[] = []

  /** Seconds from `at` until the job at this position (1 is next) is done, or nothing without GPUs. */
  const queued = (position: number): number | undefined => {
    while (ends.length < position) {
      const [gpu, free] = earliest(freeIn, ofGpu)
      if (gpu === undefined) return undefined
      const end = free + ofGpu(gpu)
      freeIn.set(gpu, end)
      ends.push(end + conversion)
    }
    return ends[position - 1]
  }

  return { queued, remaining }
}

/** The free GPU that will finish first, as the queue itself chooses among those free at the same time. */
function earliest(
  freeIn: ReadonlyMap<GpuId, number>,
  ofGpu: (gpu: GpuId) => number,
): readonly [GpuId | undefined, number] {
  let best: GpuId | undefined
  let free = 0
  for (const [gpu, seconds] of freeIn) {
    const sooner = best === undefined || seconds < free
    const faster = best !== undefined && seconds === free && ofGpu(gpu) < ofGpu(best)
    if (sooner || faster) [best, free] = [gpu, seconds]
  }
  return [best, free]
}

export type Forecast = ReturnType<typeof createForecast>

/** `elapsed` is how old the forecast is, in seconds: what was to come has come nearer since. */
export function estimateOf(
  jobId: JobId,
  queue: QueueSnapshot,
  forecast: Forecast,
  elapsed: number,
): Estimate | undefined {
  const running = queue.running.get(jobId)
  if (running) {
    return {
      etaSeconds: seconds(forecast.remaining(running, elapsed)),
      progress: progressOf(running),
    }
  }
  const seq = get(queue.seqOf, jobId)
  if (seq === undefined) return undefined
  const end = forecast.queued(rank(queue.waiting, seq) + 1)
  return end === undefined ? undefined : { etaSeconds: seconds(end - elapsed), progress: 0 }
}

const seconds = (value: number): number => Math.ceil(Math.max(0, value) * caution)

/**
 * Where each stage begins on the way from 0 to 1, after the measured phases of real runs:
 * the sampling bar is most of it, but its end is far from the end (facts: §2.4).
 */
const stageBegins = {
  loading: 0,
  encoding: 0.12,
  denoising: 0.15,
  decoding: 0.85,
  saving: 0.95,
  converting: 0.97,
} as const satisfies Record<Stage, number>

function progressOf({ phase, reading }: RunningJob): number {
  if (phase === 'converting') return stageBegins.converting
  if (!reading) return 0
  const { stage, step = 0, totalSteps = 0 }: Reading = reading
  const begin = stageBegins[stage]
  if (stage !== 'denoising' || totalSteps === 0) return begin
  const share = Math.min(1, step / totalSteps)
  return Number((begin + share * (stageBegins.decoding - begin)).toFixed(4))
}

const mean = (values: readonly number[]): number =>
  values.reduce((sum, value) => sum + value, 0) / values.length

const average = (
  attempts: readonly PastAttempt[],
  what: 'generationSeconds' | 'conversionSeconds',
): number => mean(attempts.map((attempt) => attempt[what]))
