/** Plays the queue forward over all GPUs: when each waiting job's video will be there. */
import type { GpuId, Timestamp } from '../../job.ts'
import { valuesFrom } from '../queue/ordered-map.ts'
import type { QueueSnapshot, WaitingJob } from '../queue/queue-protocol.ts'
import { healthOf } from '../queue/queue-state.ts'
import { type Outlook, plus, whole } from './duration.ts'
import { onGpu, type SpeedModel } from './speed-model.ts'

export type Busy = Readonly<{ gpu: GpuId; gpuLeft: Outlook; loadLeft: Outlook; isLoading: boolean }>

export type ForecastQueue = Pick<
  QueueSnapshot,
  'settings' | 'readyGpus' | 'givenUpGpus' | 'gpuHealth' | 'hasRoom'
>

/** A GPU whose actor is being started again is there in a moment. */
const startSeconds = 2

type Lane = { gpu: GpuId; free: number; squares: number; doubt: number }

export type Forecast = ReturnType<typeof createForecast>

/**
 * `busy` is what runs now. Played only as far as asked for: `play` goes on by so many jobs, and new
 * ones at the end of the queue are played when their turn comes. Seconds are counted from `at`.
 */
export function createForecast(
  queue: ForecastQueue,
  busy: readonly Busy[],
  model: Pick<SpeedModel, 'plan'>,
  { at, isCold }: { at: Timestamp; isCold: boolean },
) {
  const lanes = lanesOf(queue, busy, at)
  const slots = loadSlots(queue.settings, busy)
  /** Of the jobs played so far, in the order of the queue. */
  const seqs: number[] = []
  const outlooks: (Outlook | undefined)[] = []
  let lastClaim = 0
  /** Once one has loaded the model, its files are in memory for the others. */
  let warmFrom = isCold
    ? Math.min(Number.POSITIVE_INFINITY, ...busy.map(({ loadLeft }) => loadLeft.median))
    : 0

  return {
    at,
    /** Plays at most so many jobs more; true when all that wait now are played. */
    play({ waiting }: Pick<QueueSnapshot, 'waiting'>, most: number): boolean {
      let left = most
      for (const job of valuesFrom(waiting, (seqs.at(-1) ?? -1) + 1)) {
        if (left === 0) return false
        left -= 1
        outlooks.push(next(job))
        seqs.push(job.seq)
      }
      return true
    },
    isPlayed: (seq: number): boolean => seq <= (seqs.at(-1) ?? -1),
    /** Nothing for a job that is not played, or gets no GPU. */
    of: (seq: number): Outlook | undefined => outlooks[indexOf(seqs, seq)],
  }

  function next({ shape, failedOn }: WaitingJob): Outlook | undefined {
    const elsewhere = lanes.some(({ gpu }) => gpu !== failedOn)
    const open = elsewhere ? lanes.filter(({ gpu }) => gpu !== failedOn) : lanes
    if (open.length === 0 || !queue.hasRoom) return undefined
    const slot = slots.indexOf(Math.min(...slots))
    const soonest = Math.max(lastClaim, slots[slot] ?? 0, Math.min(...open.map(({ free }) => free)))
    const planOn = ({ gpu }: Lane) => model.plan(gpu, shape, soonest < warmFrom)
    const lane = open
      .filter(({ free }) => free <= soonest)
      .reduce((best, other) =>
        onGpu(planOn(other)).median < onGpu(planOn(best)).median ? other : best,
      )
    const plan = planOn(lane)
    const taken = onGpu(plan)
    lane.free = soonest + taken.median
    lane.squares += taken.deviation ** 2
    lane.doubt += taken.doubt
    slots[slot] = soonest + plan.loading.median
    warmFrom = Math.min(warmFrom, soonest + plan.loading.median)
    lastClaim = soonest
    const gpuDone = { median: lane.free, deviation: Math.sqrt(lane.squares), doubt: lane.doubt }
    return plus(gpuDone, whole(plan.converting))
  }
}

/** The GPUs that may be given jobs, and when. */
function lanesOf(queue: ForecastQueue, busy: readonly Busy[], at: Timestamp): Lane[] {
  const { settings, readyGpus, givenUpGpus } = queue
  return settings.gpus.flatMap((gpu): Lane[] => {
    const { drained, quarantine } = healthOf(queue, gpu)
    const until = quarantine?.until
    const isOut = quarantine && !quarantine.probing && until === undefined
    if (drained || isOut || givenUpGpus.has(gpu)) return []
    const rest = quarantine && !quarantine.probing ? Math.max(0, (until ?? at) - at) / 1000 : 0
    const job = busy.find((one) => one.gpu === gpu)
    if (!job) {
      const free = Math.max(rest, readyGpus.has(gpu) ? 0 : startSeconds)
      return [{ gpu, free, squares: 0, doubt: 0 }]
    }
    const { median, deviation, doubt } = job.gpuLeft
    return [{ gpu, free: Math.max(rest, median), squares: deviation ** 2, doubt }]
  })
}

/** When each of the loads that may go on at once may begin. */
function loadSlots(
  { maxConcurrentLoads, gpus }: ForecastQueue['settings'],
  busy: readonly Busy[],
): number[] {
  const limit = Math.min(maxConcurrentLoads, Math.max(1, gpus.length))
  const taken = busy
    .filter(({ isLoading }) => isLoading)
    .map(({ loadLeft }) => loadLeft.median)
    .sort((a, b) => a - b)
    // More than the limit may be loading after a restart with another one.
    .slice(-limit)
  return [...taken, ...Array.from({ length: limit - taken.length }, () => 0)]
}

function indexOf(sorted: readonly number[], value: number): number {
  let low = 0
  let high = sorted.length - 1
  while (low <= high) {
    const middle = (low + high) >> 1
    const found = sorted[middle] ?? 0
    if (found === value) return middle
    if (found < value) low = middle + 1
    else high = middle - 1
  }
  return -1
}
