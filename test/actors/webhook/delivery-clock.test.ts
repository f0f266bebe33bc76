import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { maxStopMs, startDeliveryClock } from '../../../src/actors/webhook/delivery-clock.ts'
import { midnight } from '../../support/jobs.ts'

const day = 24 * 60 * 60_000

function aMachine() {
  let wall = midnight
  let booted = 5_000
  return {
    sources: { wall: () => wall, monotonic: () => booted },
    passes(ms: number) {
      wall += ms
      booted += ms
    },
    steps(ms: number) {
      wall += ms
    },
    restarts() {
      booted = 0
    },
  }
}

const kept = { at: midnight, steady: midnight }

describe('the clock of deliveries', () => {
  it('goes with the wall clock while nobody corrects that', () => {
    const machine = aMachine()
    const clock = startDeliveryClock(kept, machine.sources)
    machine.passes(day)
    expect(clock.now()).toEqual({ at: midnight + day, steady: midnight + day })
  })

  it('goes on over a restart, and counts an hour of a longer stop', () => {
    const machine = aMachine()
    machine.passes(60_000)
    expect(startDeliveryClock(kept, machine.sources).now().steady).toBe(midnight + 60_000)
    machine.passes(day)
    expect(startDeliveryClock(kept, machine.sources).now().steady).toBe(midnight + maxStopMs)
  })

  it('never goes back, and no step of the wall clock moves it by more than an hour at a restart', () => {
    const anything = fc.oneof(
      fc.record({ do: fc.constant('pass' as const), ms: fc.nat(day) }),
      fc.record({
        do: fc.constant('step' as const),
        ms: fc.integer({ min: -9 * day, max: 9 * day }),
      }),
      fc.record({ do: fc.constant('restart' as const), ms: fc.constant(0) }),
    )
    fc.assert(
      fc.property(fc.array(anything, { maxLength: 50 }), (events) => {
        const machine = aMachine()
        let clock = startDeliveryClock(kept, machine.sources)
        let before = clock.now().steady
        for (const event of events) {
          const last = clock.now()
          if (event.do === 'pass') machine.passes(event.ms)
          if (event.do === 'step') machine.steps(event.ms)
          if (event.do === 'restart') {
            machine.restarts()
            clock = startDeliveryClock(last, machine.sources)
          }
          const { steady } = clock.now()
          expect(steady - before).toBeGreaterThanOrEqual(0)
          expect(steady - before).toBeLessThanOrEqual(event.do === 'pass' ? event.ms : maxStopMs)
          before = steady
        }
      }),
    )
  })
})
