import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createAttemptClock } from '../../../../src/infra/generation/attempt/attempt-clock.ts'
import { midnight } from '../../../support/jobs.ts'

const second = 1_000
const day = 24 * 60 * 60 * second

describe('the start of a worker', () => {
  it('is what its shim says when the clock has not been set since', () => {
    const world = aWorld()
    world.waits(90 * second)
    expect(world.clock.startedAt(midnight - 30 * second, 120 * second)).toBe(midnight - 30 * second)
  })

  it.each([9 * day, -2 * day, -30 * day, 2 * 3_600 * second])(
    'is as long ago as the worker is old when the clock was set by %d ms since',
    (setByMs) => {
      const { clock } = aWorld()
      const told = midnight - 120 * second - setByMs
      expect(clock.now() - clock.startedAt(told, 120 * second)).toBe(120 * second)
    },
  )

  it('is not before this observer when nobody knows how old the worker is', () => {
    const { clock, waits } = aWorld()
    waits(5 * second)
    expect(clock.startedAt(midnight - 9 * day, undefined)).toBe(midnight)
  })

  it('stays as it was first found', () => {
    const world = aWorld()
    const first = world.clock.startedAt(midnight, 0)
    world.waits(60 * second)
    world.sets(9 * day)
    expect(world.clock.startedAt(midnight + 9 * day, 1 * second)).toBe(first)
  })
})

describe('the time of an attempt', () => {
  it('goes on as if nobody set the clock', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(10 * day), fc.integer())), (steps) => {
        const world = aWorld()
        for (const [waitsMs, setByMs] of steps) {
          const before = world.clock.now()
          world.waits(waitsMs)
          world.sets(setByMs)
          expect(world.clock.now() - before).toBe(waitsMs)
        }
      }),
    )
  })

  it('takes what was written just now for now, however the clock was set', () => {
    const world = aWorld()
    world.clock.startedAt(midnight, 0)
    for (const setByMs of [9 * day, -2 * day, -11 * day]) {
      world.sets(setByMs)
      world.waits(10 * second)
      expect(world.clock.place(world.wall())).toBe(world.clock.now())
    }
  })

  it('moves what was written before the clock was set, and this observer was there', () => {
    for (const setByMs of [9 * day, -2 * day]) {
      const { clock } = aWorld()
      // A worker of two minutes: its clock was set a minute ago.
      const told = midnight - 120 * second - setByMs
      const startedAt = clock.startedAt(told, 120 * second)
      expect(clock.place(told + 40 * second)).toBe(startedAt + 40 * second)
      expect(clock.place(midnight - 10 * second)).toBe(midnight - 10 * second)
    }
  })
})

function aWorld() {
  let steady = midnight
  let shift = 0
  return {
    clock: createAttemptClock(
      () => steady,
      () => shift,
    ),
    wall: () => steady + shift,
    waits(ms: number) {
      steady += ms
    },
    sets(byMs: number) {
      shift += byMs
    },
  }
}

describe('the time of an attempt on a machine whose clock is not that of the cluster', () => {
  it.each([3_600, 60, 1, -1, -60, -1_800])(
    'is that of the cluster at %d s ahead of it',
    (ahead) => {
      let now = midnight
      const aheadMs = ahead * second
      const clock = createAttemptClock(
        () => now,
        () => 0,
        () => aheadMs,
      )
      expect(clock.startedAt(midnight - 90 * second + aheadMs, 90 * second)).toBe(
        midnight - 90 * second,
      )
      for (let n = 0; n < 20; n++) {
        now += 30 * second
        expect(clock.place(now + aheadMs)).toBe(now)
      }
    },
  )
})
