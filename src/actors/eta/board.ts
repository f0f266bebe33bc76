/** GPUs and turns of loads while a queue is played forward: which GPU gets the next job, and when. */
import type { GpuId, Shape } from '../../domain/job.ts'
import { Heap } from '../heap.ts'
import type { WaitingJob } from '../queue/queue-state.ts'
import { type Outlook, plus } from './duration.ts'
import type { Load } from './speed-model.ts'

/** `free`: second at which the GPU is done with the jobs it was given. */
export type Lane = Readonly<{ gpu: GpuId; free: number; squares: number; doubt: number }>

/** What a job takes of a GPU, and after that. */
export type Course = Readonly<{ gpu: Outlook; conversion: Outlook; loadSeconds: number }>

export type CoursesOf = (shape: Shape, load: Load) => ReadonlyMap<GpuId, Course>

/** State of the GPUs after the last job that was played. */
export type Position = Readonly<{
  /** In the order in which equally fast ones are taken. */
  lanes: readonly Lane[]
  slots: readonly number[]
  lastClaim: number
  /** Once one has loaded the model, its files are in memory for the others. */
  warmFrom: number
}>

type Move = Lane & Readonly<{ index: number }>

/** A copy of a position that one call of `play` owns and changes. A job costs O(log n) of the GPUs. */
export class Board {
  readonly #lanes: Move[]
  /** Those that are not free yet at the time of the last claim. */
  readonly #busy: Heap<Move>
  /** All others. Claims go forward in time, so that they stay free until they get a job. */
  readonly #free: Move[] = []
  readonly #slots: Heap<number>
  #lastClaim: number
  #warmFrom: number

  constructor({ lanes, slots, lastClaim, warmFrom }: Position) {
    this.#lanes = lanes.map((lane, index) => ({ ...lane, index }))
    this.#busy = new Heap(this.#lanes, (a, b) => a.free < b.free)
    this.#slots = new Heap(slots, (a, b) => a < b)
    this.#lastClaim = lastClaim
    this.#warmFrom = warmFrom
  }

  position(): Position {
    return {
      lanes: this.#lanes.map(({ index: _, ...lane }) => lane),
      slots: [...this.#slots.items],
      ...{ lastClaim: this.#lastClaim, warmFrom: this.#warmFrom },
    }
  }

  /** Gives the job to a GPU. */
  give(
    { shape, failedOn }: Pick<WaitingJob, 'shape' | 'failedOn'>,
    { coursesOf, startsWarm }: Readonly<{ coursesOf: CoursesOf; startsWarm: boolean }>,
  ): Outlook | undefined {
    const avoided = this.#lanes.some(({ gpu }) => gpu !== failedOn) ? failedOn : undefined
    const soonest = Math.max(this.#lastClaim, this.#slots.first ?? 0, this.#soonestFree(avoided))
    const coldLoad = soonest < this.#warmFrom ? 'fromDisk' : 'fromMemory'
    const courses = coursesOf(shape, startsWarm ? 'forked' : coldLoad)
    const best = this.#fastest(soonest, avoided, courses)
    const course = best && courses.get(best.gpu)
    if (!best || !course) return undefined
    const next = {
      ...best,
      free: soonest + course.gpu.median,
      squares: best.squares + course.gpu.deviation ** 2,
      doubt: best.doubt + course.gpu.doubt,
    }
    this.#free.splice(this.#free.indexOf(best), 1)
    this.#lanes[best.index] = next
    this.#busy.push(next)
    const loaded = soonest + course.loadSeconds
    this.#slots.pop()
    this.#slots.push(loaded)
    this.#warmFrom = Math.min(this.#warmFrom, loaded)
    this.#lastClaim = soonest
    const { free: median, squares, doubt } = next
    return plus({ median, deviation: Math.sqrt(squares), doubt }, course.conversion)
  }

  #soonestFree(avoided: GpuId | undefined): number {
    if (this.#free.some(({ gpu }) => gpu !== avoided)) return this.#lastClaim
    const { first } = this.#busy
    if (first?.gpu !== avoided) return first?.free ?? Number.POSITIVE_INFINITY
    if (!first) return Number.POSITIVE_INFINITY
    this.#busy.pop()
    const second = this.#busy.first
    this.#busy.push(first)
    return second?.free ?? Number.POSITIVE_INFINITY
  }

  #fastest(
    soonest: number,
    avoided: GpuId | undefined,
    courses: ReadonlyMap<GpuId, Course>,
  ): Move | undefined {
    for (let next = this.#busy.first; next && next.free <= soonest; next = this.#busy.first) {
      this.#busy.pop()
      this.#free.push(next)
    }
    const seconds = ({ gpu }: Lane) => courses.get(gpu)?.gpu.median ?? 0
    let best: Move | undefined
    for (const lane of this.#free) {
      if (lane.gpu === avoided) continue
      const gain = best ? seconds(best) - seconds(lane) : 1
      if (gain > 0 || (gain === 0 && best && lane.index < best.index)) best = lane
    }
    return best
  }
}
