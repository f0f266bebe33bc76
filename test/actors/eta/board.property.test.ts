import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Board, type Course, type Position } from '../../../src/actors/eta/board.ts'
import { plus } from '../../../src/actors/eta/duration.ts'
import type { GpuId } from '../../../src/domain/job.ts'
import { usual } from '../../support/eta.ts'
import { gpuId } from '../../support/jobs.ts'

const second = fc.integer({ min: 0, max: 6 })
const gpus = [0, 1, 2, 3, 4].map(gpuId)

const position: fc.Arbitrary<Position> = fc.record({
  lanes: fc
    .array(second, { maxLength: 5 })
    .map((free) =>
      free.map((free, index) => ({ gpu: gpuId(index), free, squares: index, doubt: 0 })),
    ),
  slots: fc.array(second, { minLength: 1, maxLength: 4 }),
  lastClaim: fc.constant(0),
  warmFrom: second,
})

/** Seconds of a job on each GPU, when the model is read from disk and when it is in memory. */
const seconds = fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 5, maxLength: 5 })
const jobs = fc.array(fc.option(fc.constantFrom(...gpus), { nil: undefined }), { maxLength: 30 })

describe('a queue that is played forward', () => {
  it('gives each job to the GPU that a search of all GPUs and turns would find', () => {
    fc.assert(
      fc.property(
        position,
        seconds,
        seconds,
        jobs,
        fc.nat(5),
        (position, cold, warm, jobs, cut) => {
          const coursesOf = (_: unknown, load: string) =>
            coursesFrom(load === 'fromDisk' ? cold : warm)
          const rules = { coursesOf, startsWarm: false }
          let board = new Board(position)
          const plain = {
            ...position,
            lanes: position.lanes.map((lane) => ({ ...lane })),
            slots: [...position.slots],
          }
          for (const [index, failedOn] of jobs.entries()) {
            // As between two turns.
            if (index % (cut + 1) === cut) board = new Board(board.position())
            const job = { shape: usual, ...(failedOn !== undefined && { failedOn }) }
            expect(board.give(job, rules)).toEqual(giveBySearch(plain, failedOn, coursesOf))
          }
          expect(board.position().lanes).toEqual(plain.lanes)
        },
      ),
    )
  })
})

const certain = (median: number) => ({ median, deviation: 1, doubt: 0.5 })

const coursesFrom = (seconds: readonly number[]): ReadonlyMap<GpuId, Course> =>
  new Map(
    gpus.map((gpu, index) => [
      gpu,
      { gpu: certain(seconds[index] ?? 1), conversion: certain(1), loadSeconds: 2 },
    ]),
  )

type Plain = {
  lanes: { gpu: GpuId; free: number; squares: number; doubt: number }[]
  slots: number[]
  lastClaim: number
  warmFrom: number
}

function giveBySearch(
  plain: Plain,
  failedOn: GpuId | undefined,
  coursesOf: (shape: unknown, load: string) => ReadonlyMap<GpuId, Course>,
) {
  const { lanes, slots } = plain
  const allowed = lanes.filter(({ gpu }) => gpu !== failedOn)
  const candidates = allowed.length > 0 ? allowed : lanes
  const turn = Math.min(...slots)
  const soonest = Math.max(plain.lastClaim, turn, Math.min(...candidates.map(({ free }) => free)))
  const courses = coursesOf(usual, soonest < plain.warmFrom ? 'fromDisk' : 'fromMemory')
  const [best] = candidates
    .filter(({ free }) => free <= soonest)
    .map((lane) => ({ lane, course: courses.get(lane.gpu) }))
    .sort((a, b) => (a.course?.gpu.median ?? 0) - (b.course?.gpu.median ?? 0))
  if (!best?.course) return undefined
  const { lane, course } = best
  lane.free = soonest + course.gpu.median
  lane.squares += course.gpu.deviation ** 2
  lane.doubt += course.gpu.doubt
  slots[slots.indexOf(turn)] = soonest + course.loadSeconds
  plain.warmFrom = Math.min(plain.warmFrom, soonest + course.loadSeconds)
  plain.lastClaim = soonest
  const done = { median: lane.free, deviation: Math.sqrt(lane.squares), doubt: lane.doubt }
  return plus(done, course.conversion)
}
