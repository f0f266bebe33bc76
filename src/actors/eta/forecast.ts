/** Plays the queue forward over all GPUs: when each waiting job's video will be there. */
import type { GpuId, Shape, Timestamp } from '../../domain/job.ts'
import type { NodeName } from '../../domain/node.ts'
import { clamp, hourMs } from '../../domain/time.ts'
import { valuesFrom } from '../ordered-map.ts'
import { mayClaim, nodeNamed, nodeNameOf, type QueueNode } from '../queue/nodes.ts'
import { healthOf, type QueueSnapshot } from '../queue/queue-state.ts'
import { Board, type Course, type CoursesOf, type Lane, type Position, type Site } from './board.ts'
import { type Outlook, whole } from './duration.ts'
import { onGpu, type SpeedModel } from './speed-model.ts'
import { isColdAt } from './track.ts'

export type Busy = Readonly<{ gpu: GpuId; gpuLeft: Outlook; loadLeft: Outlook; isLoading: boolean }>

export type ForecastQueue = Omit<QueueSnapshot, 'waiting' | 'seqOf'>

/** A GPU whose actor is being started again is there in a moment. */
const startSeconds = 2

/**
 * The queue played forward over the GPUs. `play` continues it by a number of jobs, and later by new
 * jobs at the end of the queue. Seconds are counted from `at`.
 */
export type Forecast = Readonly<{
  at: Timestamp
  coursesOf: CoursesOf
  position: Position
  /** Outlooks of the jobs played so far, in the order of the queue. */
  chunks: readonly Chunk[]
}>

/** Outlooks are kept in chunks, so that one more job copies one chunk and not 100,000 outlooks. */
type Chunk = Readonly<{ seqs: readonly number[]; outlooks: readonly (Outlook | undefined)[] }>

const maxChunk = 1_000

/** A forecast without any job played. `busy`: the generations that run now. */
export function startForecast(
  queue: ForecastQueue,
  busy: readonly Busy[],
  model: Pick<SpeedModel, 'plan' | 'isCold'>,
  { at, startsWarm }: { at: Timestamp; startsWarm: boolean },
): Forecast {
  const lanes = lanesOf(queue, busy, at)
  const busyOf = Map.groupBy(busy, ({ gpu }) => nodeNameOf(queue, gpu))
  const siteOf = (name: NodeName): Site => {
    const here = busyOf.get(name) ?? []
    const loaded = Math.min(
      Number.POSITIVE_INFINITY,
      ...here.map(({ loadLeft }) => loadLeft.median),
    )
    return {
      slots: loadSlots(nodeNamed(queue, name), here),
      warmFrom: isColdAt(model, queue, name, at) ? loaded : 0,
      startsWarm,
    }
  }
  return {
    at,
    coursesOf: coursesOn(
      lanes.map(({ gpu }) => gpu),
      model,
    ),
    position: {
      lanes,
      sites: new Map(
        [...new Set(lanes.map(({ node }) => node))].map((name) => [name, siteOf(name)]),
      ),
      lastClaim: 0,
    },
    chunks: [],
  }
}

/** Whether a node has begun or ceased to take jobs. */
export const claimsDiffer = (before: ForecastQueue, seen: ForecastQueue): boolean =>
  before.nodes !== seen.nodes &&
  [...seen.nodes.values()].some((node) => {
    const known = before.nodes.get(node.name)
    return known === undefined || mayClaim(known) !== mayClaim(node)
  })

/** Plays at most `maxJobs` more jobs. `isWhole`: all jobs that wait now have been played. */
export function play(
  forecast: Forecast,
  { waiting }: Pick<QueueSnapshot, 'waiting'>,
  maxJobs: number,
): Readonly<{ forecast: Forecast; isWhole: boolean }> {
  const seqs: number[] = []
  const outlooks: (Outlook | undefined)[] = []
  const board = new Board(forecast.position)
  let isWhole = true
  for (const job of valuesFrom(waiting, lastSeq(forecast) + 1)) {
    if (seqs.length === maxJobs) {
      isWhole = false
      break
    }
    outlooks.push(board.give(job, forecast.coursesOf))
    seqs.push(job.seq)
  }
  if (seqs.length === 0) return { forecast, isWhole }
  const chunks = append(forecast.chunks, { seqs, outlooks })
  return { forecast: { ...forecast, position: board.position(), chunks }, isWhole }
}

/** Outlook of a job at the end of all that have been played. Undefined if it gets no GPU. */
export const outlookOfNext = (forecast: Forecast, shape: Shape): Outlook | undefined =>
  new Board(forecast.position).give({ shape }, forecast.coursesOf)

export const isPlayed = (forecast: Forecast, seq: number): boolean => seq <= lastSeq(forecast)

/** Undefined for a job that has not been played, or that gets no GPU. */
export function outlookIn({ chunks }: Forecast, seq: number): Outlook | undefined {
  const chunk = chunks[firstIndex(chunks.length, (index) => endOf(chunks[index]) >= seq)]
  if (!chunk) return undefined
  const { seqs, outlooks } = chunk
  const index = firstIndex(seqs.length, (index) => (seqs[index] ?? 0) >= seq)
  return seqs[index] === seq ? outlooks[index] : undefined
}

const lastSeq = ({ chunks }: Forecast): number => endOf(chunks.at(-1))

const endOf = (chunk: Chunk | undefined): number => chunk?.seqs.at(-1) ?? -1

function append(chunks: readonly Chunk[], more: Chunk): readonly Chunk[] {
  const last = chunks.at(-1)
  if (!last || last.seqs.length + more.seqs.length > maxChunk) return [...chunks, more]
  const merged = {
    seqs: [...last.seqs, ...more.seqs],
    outlooks: [...last.outlooks, ...more.outlooks],
  }
  return [...chunks.slice(0, -1), merged]
}

/** How jobs of a kind go on each GPU. Memoised: most jobs of a queue are alike. */
function coursesOn(gpus: readonly GpuId[], model: Pick<SpeedModel, 'plan'>): CoursesOf {
  const coursesByKind = new Map<string, ReadonlyMap<GpuId, Course>>()
  return (shape, load) => {
    const key = `${shape.size} ${shape.frames} ${shape.steps} ${load}`
    const known = coursesByKind.get(key)
    if (known) return known
    const courses = new Map(
      gpus.map((gpu) => {
        const plan = model.plan(gpu, shape, load)
        const conversion = whole(plan.converting)
        return [gpu, { gpu: onGpu(plan), conversion, loadSeconds: plan.loading.median }]
      }),
    )
    coursesByKind.set(key, courses)
    return courses
  }
}

/** The GPUs that may be given jobs, and when. */
function lanesOf(queue: ForecastQueue, busy: readonly Busy[], at: Timestamp): Lane[] {
  const { gpus, readyGpus, givenUpGpus } = queue
  const jobs = new Map(busy.map((job) => [job.gpu, job]))
  const claiming = new Set([...queue.nodes.values()].filter(mayClaim).map(({ name }) => name))
  return gpus.flatMap((gpu): Lane[] => {
    const { drained, quarantine } = healthOf(queue, gpu)
    const until = quarantine?.until
    const isOut = quarantine && !quarantine.probing && until === undefined
    const node = nodeNameOf(queue, gpu)
    // Nobody knows for how long a node is away or held.
    if (!claiming.has(node)) return []
    if (drained || isOut || givenUpGpus.has(gpu)) return []
    // A quarantine lasts an hour at most.
    const rest = quarantine && !quarantine.probing ? clamp((until ?? at) - at, 0, hourMs) / 1000 : 0
    const job = jobs.get(gpu)
    if (!job) {
      const free = Math.max(rest, readyGpus.has(gpu) ? 0 : startSeconds)
      return [{ gpu, node, free, squares: 0, doubt: 0 }]
    }
    const { median, deviation, doubt } = job.gpuLeft
    return [{ gpu, node, free: Math.max(rest, median), squares: deviation ** 2, doubt }]
  })
}

/** When each of the loads that may go on at once on a node may begin. `busy`: its generations. */
function loadSlots(node: QueueNode | undefined, busy: readonly Busy[]): number[] {
  const { maxConcurrentLoads = 1, gpus = [] } = node ?? {}
  const limit = Math.min(maxConcurrentLoads, Math.max(1, gpus.length))
  const taken = busy
    .filter(({ isLoading }) => isLoading)
    .map(({ loadLeft }) => loadLeft.median)
    .sort((a, b) => a - b)
    // More than the limit may be loading after a restart with another one.
    .slice(-limit)
  return [...taken, ...Array.from({ length: limit - taken.length }, () => 0)]
}

/** Index of the first item for which `isThere` holds. It must hold for all later items too. */
function firstIndex(count: number, isThere: (index: number) => boolean): number {
  let low = 0
  let high = count
  while (low < high) {
    const middle = (low + high) >> 1
    if (isThere(middle)) high = middle
    else low = middle + 1
  }
  return low
}
