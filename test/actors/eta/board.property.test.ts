import fc from 'fast-check'
import * as v from 'valibot'
import { describe, expect, it } from 'vitest'
import { Board, type Course, type Position, type Site } from '../../../src/actors/eta/board.ts'
import { plus } from '../../../src/actors/eta/duration.ts'
import type { Load } from '../../../src/actors/eta/speed-model.ts'
import type { GpuId } from '../../../src/domain/job.ts'
import { NodeName } from '../../../src/domain/node.ts'
import { usual } from '../../support/eta.ts'
import { gpuId } from '../../support/jobs.ts'

const second = fc.integer({ min: 0, max: 6 })
const gpus = [0, 1, 2, 3, 4].map(gpuId)

const nodes = ['one', 'two', 'three'].map((name) => v.parse(NodeName, name))

const site: fc.Arbitrary<Site> = fc.record({
  slots: fc.array(second, { minLength: 1, maxLength: 4 }),
  warmFrom: second,
  startsWarm: fc.boolean(),
})

const position: fc.Arbitrary<Position> = fc
  .record({
    lanes: fc.array(fc.tuple(second, fc.constantFrom(...nodes)), { maxLength: 5 }),
    sites: fc.tuple(site, site, site),
  })
  .map(({ lanes, sites }) => ({
    lanes: lanes.map(([free, node], index) => ({
      ...{ gpu: gpuId(index), node, free, squares: index, doubt: 0 },
    })),
    sites: new Map(
      nodes.flatMap((node, index) => {
        const [one] = sites.slice(index)
        return one && lanes.some(([, name]) => name === node) ? [[node, one]] : []
      }),
    ),
    lastClaim: 0,
  }))

/** Seconds of a job on each GPU, for each kind of load. */
const seconds = fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 5, maxLength: 5 })
const jobs = fc.array(fc.option(fc.constantFrom(...gpus), { nil: undefined }), { maxLength: 30 })

describe('a queue that is played forward', () => {
  it('gives each job to the GPU that a search of all GPUs and turns would find', () => {
    fc.assert(
      fc.property(
        position,
        fc.record({ fromDisk: seconds, fromMemory: seconds, forked: seconds }),
        jobs,
        fc.nat(5),
        (position, secondsOf, jobs, cut) => {
          const coursesOf = (_: unknown, load: keyof typeof secondsOf) =>
            coursesFrom(secondsOf[load])
          let board = new Board(position)
          const plain = {
            ...position,
            lanes: position.lanes.map((lane) => ({ ...lane })),
            sites: new Map(
              [...position.sites].map(([name, site]) => [
                name,
                { ...site, slots: [...site.slots] },
              ]),
            ),
          }
          for (const [index, failedOn] of jobs.entries()) {
            // As between two turns.
            if (index % (cut + 1) === cut) board = new Board(board.position())
            const job = { shape: usual, ...(failedOn !== undefined && { failedOn }) }
            expect(board.give(job, coursesOf)).toEqual(giveBySearch(plain, failedOn, coursesOf))
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
  lanes: { gpu: GpuId; node: NodeName; free: number; squares: number; doubt: number }[]
  sites: Map<NodeName, { slots: number[]; warmFrom: number; startsWarm: boolean }>
  lastClaim: number
}

function giveBySearch(
  plain: Plain,
  failedOn: GpuId | undefined,
  coursesOf: (shape: unknown, load: Load) => ReadonlyMap<GpuId, Course>,
) {
  const { lanes, sites } = plain
  const siteOf = ({ node }: { node: NodeName }) =>
    sites.get(node) ?? { slots: [], warmFrom: 0, startsWarm: false }
  const turnOf = (lane: { node: NodeName }) => Math.min(...siteOf(lane).slots)
  const allowed = lanes.filter(({ gpu }) => gpu !== failedOn)
  const candidates = allowed.length > 0 ? allowed : lanes
  const readyAt = candidates.map((lane) => Math.max(turnOf(lane), lane.free))
  const soonest = Math.max(plain.lastClaim, Math.min(...readyAt))
  const loadOn = (lane: { node: NodeName }): Load => {
    const { startsWarm, warmFrom } = siteOf(lane)
    return startsWarm ? 'forked' : soonest < warmFrom ? 'fromDisk' : 'fromMemory'
  }
  const [first] = lanes
  if (!first) return undefined
  const common = coursesOf(usual, loadOn(first))
  const [lane] = candidates
    .filter((lane) => Math.max(turnOf(lane), lane.free) <= soonest)
    .sort((a, b) => (common.get(a.gpu)?.gpu.median ?? 0) - (common.get(b.gpu)?.gpu.median ?? 0))
  const course = lane && coursesOf(usual, loadOn(lane)).get(lane.gpu)
  if (!course) return undefined
  const site = siteOf(lane)
  lane.free = soonest + course.gpu.median
  lane.squares += course.gpu.deviation ** 2
  lane.doubt += course.gpu.doubt
  site.slots[site.slots.indexOf(turnOf(lane))] = soonest + course.loadSeconds
  site.warmFrom = Math.min(site.warmFrom, soonest + course.loadSeconds)
  plain.lastClaim = soonest
  const done = { median: lane.free, deviation: Math.sqrt(lane.squares), doubt: lane.doubt }
  return plus(done, course.conversion)
}
