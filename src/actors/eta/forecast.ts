/** Plays the queue forward over all GPUs: when each waiting job's video will be there. */
import type { GpuId, Shape, Timestamp } from '../../domain/job.ts'
import { valuesFrom } from '../ordered-map.ts'
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

/** What a job takes of a GPU, and after that. */
type Course = Readonly<{ gpu: Outlook; conversion: Outlook; loadSeconds: number }>

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
  const coursesByKind = new Map<string, ReadonlyMap<GpuId, Course>>()
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
    if (!queue.hasRoom) return undefined
    const avoided = lanes.some(({ gpu }) => gpu !== failedOn) ? failedOn : undefined
    const slot = minOf(slots)
    const soonest = Math.max(lastClaim, slots[slot] ?? 0, soonestFree(avoided))
    const courses = coursesOf(shape, soonest < warmFrom)
    let best: Lane | undefined
    for (const lane of lanes) {
      if (lane.gpu === avoided || lane.free > soonest) continue
      const isFaster = (a: Lane, b: Lane) => seconds(courses, a) < seconds(courses, b)
      if (!best || isFaster(lane, best)) best = lane
    }
    const course = best && courses.get(best.gpu)
    if (!best || !course) return undefined
    best.free = soonest + course.gpu.median
    best.squares += course.gpu.deviation ** 2
    best.doubt += course.gpu.doubt
    slots[slot] = soonest + course.loadSeconds
    warmFrom = Math.min(warmFrom, soonest + course.loadSeconds)
    lastClaim = soonest
    const gpuDone = { median: best.free, deviation: Math.sqrt(best.squares), doubt: best.doubt }
    return plus(gpuDone, course.conversion)
  }

  function soonestFree(avoided: GpuId | undefined): number {
    let soonest = Number.POSITIVE_INFINITY
    for (const { gpu, free } of lanes) if (gpu !== avoided) soonest = Math.min(soonest, free)
    return soonest
  }

  /** How jobs of this kind go on each GPU. */
  function coursesOf(shape: Shape, cold: boolean): ReadonlyMap<GpuId, Course> {
    const key = `${shape.size} ${shape.frames} ${shape.steps} ${cold}`
    const known = coursesByKind.get(key)
    if (known) return known
    const courses = new Map(
      lanes.map(({ gpu }) => {
        const plan = model.plan(gpu, shape, cold)
        const conversion = whole(plan.converting)
        return [gpu, { gpu: onGpu(plan), conversion, loadSeconds: plan.loading.median }]
      }),
    )
    coursesByKind.set(key, courses)
    return courses
  }
}

const seconds = (courses: ReadonlyMap<GpuId, Course>, { gpu }: Lane): number =>
  courses.get(gpu)?.gpu.median ?? 0

function minOf(values: readonly number[]): number {
  let least = 0
  for (let index = 1; index < values.length; index++) {
    if ((values[index] ?? 0) < (values[least] ?? 0)) least = index
  }
  return least
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
