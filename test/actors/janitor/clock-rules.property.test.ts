/** Stories of a clock that is set, of restarts and of time that passes: when is the clock believed? */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  type Clock,
  holdAtStart,
  holdMs,
  holdOf,
  lookAtClock,
} from '../../../src/actors/janitor/clock-rules.ts'
import type { Hold } from '../../../src/domain/hold.ts'
import { midnight } from '../../support/jobs.ts'

const minute = 60_000
const hour = 60 * minute
const day = 24 * hour

/** Further than a weekend: such a step always begins a hold. */
const aStep = fc.integer({ min: 4 * day, max: 400 * day }).chain((ms) => fc.constantFrom(ms, -ms))

const aStory = fc.array(
  fc.oneof(
    { weight: 6, arbitrary: fc.record({ runsMs: fc.nat(8 * hour) }) },
    { weight: 2, arbitrary: fc.record({ setByMs: aStep }) },
    {
      weight: 2,
      arbitrary: fc.record({
        isOffMs: fc.nat(10 * minute),
        setByMs: fc.oneof({ weight: 3, arbitrary: fc.constant(0) }, aStep),
      }),
    },
  ),
  { minLength: 1, maxLength: 60 },
)

type Scene = typeof aStory extends fc.Arbitrary<(infer T)[]> ? T : never

describe('a clock', () => {
  it('is not believed in the 24 hours of running after it was set, whatever is restarted', () => {
    fc.assert(
      fc.property(aStory, (story) => {
        const world = aWorld()
        let ranSinceSet = Number.POSITIVE_INFINITY
        for (const one of story) {
          happen(world, one)
          if ('runsMs' in one) ranSinceSet += one.runsMs
          else if (one.setByMs !== 0) ranSinceSet = 0
          // It is looked at every few seconds.
          if (!world.doubt()) expect(ranSinceSet).toBeGreaterThanOrEqual(holdMs)
        }
      }),
      { numRuns: 500 },
    )
  })

  it('is believed again after 24 hours of running, whatever was before', () => {
    fc.assert(
      fc.property(aStory, (story) => {
        const world = aWorld()
        for (const one of story) {
          happen(world, one)
          world.doubt()
        }
        world.runs(holdMs)
        expect(world.doubt()).toBeUndefined()
      }),
    )
  })

  it('is believed on each third day where the machine is off for sixteen hours a day', () => {
    const world = aWorld()
    const believed = Array.from({ length: 9 }, () => {
      world.restarts(16 * hour)
      world.doubt()
      world.runs(8 * hour)
      return world.doubt() === undefined
    })
    expect(believed).toEqual([false, false, true, false, false, true, false, false, true])
  })
})

function happen(world: ReturnType<typeof aWorld>, one: Scene): void {
  if ('isOffMs' in one) world.restarts(one.isOffMs, one.setByMs)
  else if ('setByMs' in one) world.sets(one.setByMs)
  else world.runs(one.runsMs)
}

function aWorld() {
  let at = midnight
  let uptimeMs = 1_000
  let clock: Clock = {}
  let noted: Readonly<{ seenAt: number; hold: Hold | undefined }> = { seenAt: at, hold: undefined }

  function doubt() {
    clock = lookAtClock(clock, { at, uptimeMs }, undefined, 30 * day)
    noted = { seenAt: at, hold: holdOf(clock, { at, uptimeMs }) }
    return clock.doubt
  }
  doubt()

  return {
    doubt,
    sets(byMs: number) {
      at += byMs
    },
    runs(ms: number) {
      at += ms
      uptimeMs += ms
    },
    restarts(offMs: number, setByMs = 0) {
      at += offMs + setByMs
      uptimeMs += offMs
      const found = holdAtStart(noted, at)
      clock = found ? { found } : {}
    },
  }
}
