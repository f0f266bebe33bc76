import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  claimsAllowed,
  type Environment,
  holdBy,
  probeRank,
  soundEnvironment,
} from '../../../../src/actors/queue/environment-state.ts'
import {
  attemptOver,
  endPause,
  failedByEnvironment,
  gotTo,
  maxAlone,
  maxSuspicions,
  seeChecks,
  startProbe,
} from '../../../../src/actors/queue/rules/environment-rules.ts'
import type { Check } from '../../../../src/domain/check.ts'
import type { JobId, Stage } from '../../../../src/domain/job.ts'
import { aFailure, gpu0, jobId, midnight } from '../../../support/jobs.ts'

const failure = aFailure('resources_exhausted')

describe('the environment of generations', () => {
  it('lets any job be claimed until an attempt fails by it', () => {
    expect(claimsAllowed(soundEnvironment)).toBe('any')
    const { environment, fate, pause } = fails(soundEnvironment, 1)
    expect(fate).toBe('waits')
    expect(pause).toEqual({ number: 1, ms: 1_000 })
    expect(claimsAllowed(environment)).toBe('none')
  })

  it('lets one job probe after a pause, and the next pause is twice as long, up to a minute', () => {
    let environment = soundEnvironment
    const pauses: (number | undefined)[] = []
    for (let n = 1; n <= 9; n++) {
      const verdict = fails(environment, n)
      pauses.push(verdict.pause?.ms)
      environment = startProbe(endPause(verdict.environment, n), attempt(n + 1))
      expect(claimsAllowed(environment)).toBe('none')
    }
    expect(pauses.map((ms) => (ms ?? 0) / 1_000)).toEqual([1, 2, 4, 8, 16, 32, 60, 60, 60])
  })

  it('is sound again when a probe gets beyond the stage at which others failed', () => {
    const probing = startProbe(endPause(fails(soundEnvironment, 1).environment, 1), attempt(2))
    expect(claimsAllowed(gotTo(probing, attempt(2), 'loading'))).toBe('none')
    expect(claimsAllowed(gotTo(probing, attempt(2), 'encoding'))).toBe('any')
    const late = fails(soundEnvironment, 1, 'saving').environment
    const probingLate = startProbe(endPause(late, 1), attempt(2))
    expect(claimsAllowed(gotTo(probingLate, attempt(2), 'saving'))).toBe('none')
    expect(claimsAllowed(gotTo(probingLate, attempt(2), 'converting'))).toBe('any')
  })

  it('is not proven sound by an attempt that was started before the failure', () => {
    const open = fails(soundEnvironment, 1).environment
    expect(gotTo(open, attempt(2), 'end')).toBe(open)
    const halfOpen = endPause(open, 1)
    expect(gotTo(halfOpen, attempt(2), 'end')).toBe(halfOpen)
  })

  it('lets another job probe when a probe ends without saying anything', () => {
    const probing = startProbe(endPause(fails(soundEnvironment, 1).environment, 1), attempt(2))
    expect(claimsAllowed(attemptOver(probing, attempt(3)))).toBe('none')
    expect(claimsAllowed(attemptOver(probing, attempt(2)))).toBe('one')
  })

  it('ignores the end of a pause that another failure has followed', () => {
    const probing = startProbe(endPause(fails(soundEnvironment, 1).environment, 1), attempt(1))
    const again = fails(probing, 1).environment
    expect(claimsAllowed(endPause(again, 1))).toBe('none')
    expect(claimsAllowed(endPause(again, 2))).toBe('one')
  })

  it('allows no claim while a standing check fails, and any as soon as all succeed', () => {
    const broken = { name: 'generate.py', ok: false, detail: 'It is not there. Set WAN_DIR.' }
    const down = look(fails(soundEnvironment, 1).environment, broken)
    expect(claimsAllowed(endPause(down, 1))).toBe('none')
    expect(holdBy(down)?.detail).toContain('Set WAN_DIR.')
    const well = look(down, { ...broken, ok: true })
    expect(claimsAllowed(well)).toBe('any')
    expect(holdBy(well)).toBeUndefined()
  })

  it('has a probe decide where a check says that the checkpoint is incomplete', () => {
    const incomplete = { name: 'checkpoint', ok: false, detail: 'It is incomplete.' }
    const { environment: doubted, pause } = seeChecks(soundEnvironment, [incomplete], midnight)
    expect(pause).toEqual({ number: 4, ms: 8_000 })
    expect(claimsAllowed(doubted)).toBe('none')
    expect(holdBy(doubted)?.detail).toContain('incomplete')
    expect(look(doubted, incomplete)).toBe(doubted)
    const probing = startProbe(endPause(doubted, 4), attempt(1))

    const failed = fails(probing, 1, 'loading', true)
    expect(failed).toMatchObject({ fate: 'waits', pause: { number: 5, ms: 16_000 } })
    expect(claimsAllowed(look(failed.environment, { ...incomplete, ok: true }))).toBe('any')

    const proven = gotTo(probing, attempt(1), 'encoding')
    expect(claimsAllowed(proven)).toBe('any')
    expect(holdBy(proven)).toBeUndefined()
    expect(look(proven, incomplete)).toBe(proven)
    expect(proven).toMatchObject({ faults: [], disbelieved: [incomplete] })
    const otherwise = { ...incomplete, detail: 'Two files are missing.' }
    expect(look(proven, otherwise)).toEqual({ ...proven, disbelieved: [otherwise] })
    const again = look(look(proven, { ...incomplete, ok: true }), incomplete)
    expect(claimsAllowed(again)).toBe('none')
  })

  it('is not changed by checks that still say the same', () => {
    const well = { name: 'ffmpeg', ok: true, detail: 'version 7' }
    const open = fails(soundEnvironment, 1).environment
    expect(look(open, well)).toBe(open)
    expect(look(soundEnvironment)).toBe(soundEnvironment)
  })

  it('is called broken only after failures of several jobs, or of one for a while', () => {
    const once = fails(soundEnvironment, 1).environment
    expect(holdBy(once)).toBeUndefined()
    expect(holdBy(fails(once, 2).environment)).toMatchObject({ detail: failure.message })
    let alone = once
    for (const n of [1, 2]) alone = fails(startProbe(endPause(alone, n), attempt(1)), 1).environment
    expect(holdBy(alone)).toBeDefined()
  })

  it('lets the oldest job probe three times before the next one, and suspects last', () => {
    const ranks = (environment: Environment) => [1, 2].map((n) => probeRank(environment, jobId(n)))
    let environment = soundEnvironment
    for (const n of [1, 2, 3]) {
      expect(ranks(environment)).toEqual([0, 0])
      environment = fails(startProbe(endPause(environment, n - 1), attempt(1)), 1).environment
    }
    expect(ranks(environment)).toEqual([1, 0])
    const proven = gotTo(startProbe(endPause(environment, 3), attempt(2)), attempt(2), 'end')
    expect(ranks(proven)).toEqual([1, 0])
  })
})

describe('a job that keeps failing by the environment', () => {
  it('is given up when others get through again and again', () => {
    let environment = soundEnvironment
    for (let time = 1; time <= maxSuspicions; time++) {
      const { fate, environment: after } = fails(environment, 1)
      expect(fate).toBe('waits')
      environment = gotTo(startProbe(endPause(after, 1), attempt(2)), attempt(2), 'end')
    }
    expect(fails(environment, 1).fate).toBe('giveUp')
  })

  it('is given up when it fails alone for a long time, and nobody else waits', () => {
    const fates: string[] = []
    let environment = soundEnvironment
    for (let n = 1; n <= maxAlone; n++) {
      const verdict = fails(
        startProbe(endPause(environment, n - 1), attempt(1)),
        1,
        'loading',
        true,
      )
      fates.push(verdict.fate)
      environment = verdict.environment
    }
    expect(fates.indexOf('giveUp')).toBe(maxAlone - 1)
  })

  it('waits for as long as it takes when another fails as well', () => {
    let environment = fails(soundEnvironment, 2).environment
    for (let n = 1; n <= 100; n++) {
      const verdict = fails(startProbe(endPause(environment, n), attempt(1)), 1, 'loading', true)
      expect(verdict.fate).toBe('waits')
      environment = verdict.environment
    }
  })

  it('is cleared of suspicion when it gets through itself', () => {
    const { environment } = fails(soundEnvironment, 1)
    const suspected = gotTo(startProbe(endPause(environment, 1), attempt(2)), attempt(2), 'end')
    expect(probeRank(suspected, jobId(1))).toBe(1)
    const again = fails(suspected, 3).environment
    const proven = gotTo(startProbe(endPause(again, 1), attempt(1)), attempt(1), 'end')
    expect(probeRank(proven, jobId(1))).toBe(0)
  })
})

describe('failures by the environment', () => {
  const job = fc.integer({ min: 1, max: 5 })

  it('end at most one job as long as nothing gets through, in whatever order they come', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(job, fc.boolean(), fc.boolean())), (failures) => {
        let environment = soundEnvironment
        const givenUp = new Set<JobId>()
        for (const [n, isProbe, isAlone] of failures) {
          const { breaker } = environment
          if (isProbe && breaker.phase === 'open') {
            environment = startProbe(endPause(environment, breaker.pauses), attempt(n))
          }
          const verdict = fails(environment, n, 'loading', isAlone)
          if (verdict.fate === 'giveUp') givenUp.add(jobId(n))
          environment = verdict.environment
        }
        expect(givenUp.size).toBeLessThanOrEqual(1)
      }),
    )
  })

  it('always end in a pause or in a probe that may be started, never in a standstill', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(job, fc.constantFrom('fails', 'ends', 'proves'))), (story) => {
        let environment = soundEnvironment
        for (const [n, what] of story) {
          const { breaker } = environment
          if (breaker.phase === 'open') environment = endPause(environment, breaker.pauses)
          expect(claimsAllowed(environment)).not.toBe('none')
          environment = startProbe(environment, attempt(n))
          if (what === 'fails') environment = fails(environment, n).environment
          else if (what === 'ends') environment = attemptOver(environment, attempt(n))
          else environment = gotTo(environment, attempt(n), 'end')
          if (what === 'proves') expect(claimsAllowed(environment)).toBe('any')
        }
      }),
    )
  })
})

const look = (environment: Environment, ...checks: Check[]) =>
  seeChecks(environment, checks, midnight).environment

const attempt = (n: number) => ({ jobId: jobId(n), epoch: 1 })

const fails = (environment: Environment, n: number, stage: Stage = 'loading', isAlone = false) =>
  failedByEnvironment(
    environment,
    { ...attempt(n), gpu: gpu0, stage, failure },
    { isAlone },
    midnight,
  )
