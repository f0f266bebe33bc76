/** GPUs and turns of loads while a queue is played forward: which GPU gets the next job, and when. */
import type { GpuId, Shape } from '../../domain/job.ts'
import type { NodeName } from '../../domain/node.ts'
import { Heap } from '../heap.ts'
import type { WaitingJob } from '../queue/queue-state.ts'
import { type Outlook, plus } from './duration.ts'
import type { Load } from './speed-model.ts'

/** `free`: second at which the GPU is done with the jobs it was given. */
export type Lane = Readonly<{
  gpu: GpuId
  node: NodeName
  free: number
  squares: number
  doubt: number
}>

/** Loads of a node. Each node has limits and a page cache of its own. */
export type Site = Readonly<{
  /** When each of the loads that may go on at once may begin. */
  slots: readonly number[]
  /** Once a GPU of the node has loaded the model, its files are in memory for the others of the node. */
  warmFrom: number
  /** Generations are forked from a template. */
  startsWarm: boolean
}>

/** What a job takes of a GPU, and after that. */
export type Course = Readonly<{ gpu: Outlook; conversion: Outlook; loadSeconds: number }>

export type CoursesOf = (shape: Shape, load: Load) => ReadonlyMap<GpuId, Course>

/** State of the GPUs after the last job that was played. */
export type Position = Readonly<{
  /** In the order in which equally fast ones are taken. */
  lanes: readonly Lane[]
  /** One for each node of the lanes. */
  sites: ReadonlyMap<NodeName, Site>
  lastClaim: number
}>

type Move = Lane & Readonly<{ index: number }>

type Moves = {
  readonly startsWarm: boolean
  readonly slots: Heap<number>
  /** GPUs that were not free yet when the node could last get a job. */
  readonly busy: Heap<Move>
  /** All others. Claims go forward in time, so that they stay free until they get a job. */
  readonly free: Move[]
  warmFrom: number
}

/**
 * A copy of a position that one call of `play` owns and changes. A job costs O(m + log n), for m nodes
 * with n GPUs each.
 */
export class Board {
  readonly #lanes: Move[]
  readonly #sites: ReadonlyMap<NodeName, Moves>
  #lastClaim: number

  constructor({ lanes, sites, lastClaim }: Position) {
    this.#lanes = lanes.map((lane, index) => ({ ...lane, index }))
    const lanesOf = Map.groupBy(this.#lanes, ({ node }) => node)
    this.#sites = new Map(
      [...sites].map(([name, { slots, ...site }]) => [
        name,
        {
          ...site,
          slots: new Heap(slots, (a, b) => a < b),
          busy: new Heap(lanesOf.get(name) ?? [], (a, b) => a.free < b.free),
          free: [],
        },
      ]),
    )
    this.#lastClaim = lastClaim
  }

  position(): Position {
    return {
      lanes: this.#lanes.map(({ index: _, ...lane }) => lane),
      sites: new Map(
        [...this.#sites].map(([name, { slots, warmFrom, startsWarm }]) => [
          name,
          { slots: [...slots.items], warmFrom, startsWarm },
        ]),
      ),
      lastClaim: this.#lastClaim,
    }
  }

  /** Gives the job to a GPU. */
  give(
    { shape, failedOn }: Pick<WaitingJob, 'shape' | 'failedOn'>,
    coursesOf: CoursesOf,
  ): Outlook | undefined {
    const avoided = this.#lanes.some(({ gpu }) => gpu !== failedOn) ? failedOn : undefined
    const soonest = this.#soonest(avoided)
    const [first] = this.#lanes
    const common = first && loadOn(this.#sites.get(first.node), soonest)
    if (!common) return undefined
    // The queue chooses by the pace of a GPU, whatever its node has in memory: all have the same load here.
    const best = this.#fastest(soonest, avoided, coursesOf(shape, common))
    const site = best && this.#sites.get(best.node)
    const course = best && coursesOf(shape, loadOn(site, soonest)).get(best.gpu)
    if (!site || !course) return undefined
    const next = {
      ...best,
      free: soonest + course.gpu.median,
      squares: best.squares + course.gpu.deviation ** 2,
      doubt: best.doubt + course.gpu.doubt,
    }
    site.free.splice(site.free.indexOf(best), 1)
    this.#lanes[best.index] = next
    site.busy.push(next)
    const loaded = soonest + course.loadSeconds
    site.slots.pop()
    site.slots.push(loaded)
    site.warmFrom = Math.min(site.warmFrom, loaded)
    this.#lastClaim = soonest
    const { free: median, squares, doubt } = next
    return plus({ median, deviation: Math.sqrt(squares), doubt }, course.conversion)
  }

  /** When a node has both a free GPU and a slot for its load. */
  #soonest(avoided: GpuId | undefined): number {
    let soonest = Number.POSITIVE_INFINITY
    for (const site of this.#sites.values()) {
      const ready = Math.max(site.slots.first ?? 0, soonestFree(site, avoided))
      if (ready < soonest) soonest = ready
    }
    return Math.max(this.#lastClaim, soonest)
  }

  #fastest(
    soonest: number,
    avoided: GpuId | undefined,
    courses: ReadonlyMap<GpuId, Course>,
  ): Move | undefined {
    const seconds = ({ gpu }: Lane) => courses.get(gpu)?.gpu.median ?? 0
    let best: Move | undefined
    for (const { slots, busy, free } of this.#sites.values()) {
      if ((slots.first ?? 0) > soonest) continue
      for (let next = busy.first; next && next.free <= soonest; next = busy.first) {
        busy.pop()
        free.push(next)
      }
      for (const lane of free) {
        if (lane.gpu === avoided) continue
        const gain = best ? seconds(best) - seconds(lane) : 1
        if (gain > 0 || (gain === 0 && best && lane.index < best.index)) best = lane
      }
    }
    return best
  }
}

const loadOn = (site: Moves | undefined, at: number): Load => {
  if (site?.startsWarm) return 'forked'
  return at < (site?.warmFrom ?? 0) ? 'fromDisk' : 'fromMemory'
}

/** 0 for a GPU that was free before. */
function soonestFree({ free, busy }: Moves, avoided: GpuId | undefined): number {
  if (free.some(({ gpu }) => gpu !== avoided)) return 0
  const { first } = busy
  if (first?.gpu !== avoided) return first?.free ?? Number.POSITIVE_INFINITY
  if (!first) return Number.POSITIVE_INFINITY
  busy.pop()
  const second = busy.first
  busy.push(first)
  return second?.free ?? Number.POSITIVE_INFINITY
}
