import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { EtaMessage } from '../../../src/actors/eta/eta-protocol.ts'
import { initialEta } from '../../../src/actors/eta/eta-state.ts'
import { transition } from '../../../src/actors/eta/eta-transition.ts'
import { attemptToSteady, newLine, toSteady } from '../../../src/actors/eta/steady-line.ts'
import type { FinishedAttempt } from '../../../src/actors/queue/queue-protocol.ts'
import { type RunningJob, RunningJobs } from '../../../src/actors/queue/running-jobs.ts'
import { aFinished, aQueue, hour, speeds } from '../../support/eta.ts'
import { aRunningJob, gpu0, jobId, midnight } from '../../support/jobs.ts'

const day = 24 * hour

const aStory = fc.array(
  fc.record({
    waitsMs: fc.nat(hour),
    setByMs: fc.oneof(fc.constant(0), fc.integer({ min: -30 * day, max: 30 * day })),
    does: fc.constantFrom('claim', 'step', 'generate', 'finish', 'nothing'),
    which: fc.nat(9),
  }),
  { minLength: 1, maxLength: 30 },
)

describe('the queue on the steady clock', () => {
  it('has the times that it would have if nobody had set the clock', () => {
    fc.assert(
      fc.property(aStory, (story) => {
        const set = told(story)
        const still = told(story.map((one) => ({ ...one, setByMs: 0 })))
        expect(set).toEqual(still)
      }),
      { numRuns: 300 },
    )
  })

  it('is the queue itself as long as nobody sets the clock', () => {
    const queue = aQueue({ running: [aRunningJob(1)] })
    expect(toSteady(newLine, queue, 0)[1]).toBe(queue)
  })

  it('keeps what has not changed, so that no forecast is made in vain', () => {
    const first = aQueue({ running: [aRunningJob(1)] })
    const [line, before] = toSteady(newLine, first, 9 * day)
    const [, after] = toSteady(line, { ...first, gpuHealth: new Map() }, 9 * day)
    expect(after.running).toBe(before.running)
  })
})

describe('an attempt that has ended', () => {
  const finished = aFinished(1, 60)
  const running = aQueue({ running: [aRunningJob(1)] })
  const done = aQueue({})

  it('teaches nothing when the clock was set while it ran', () => {
    const [line] = toSteady(toSteady(newLine, running, 0)[0], done, 9 * day)
    expect(attemptToSteady(line, finished, 9 * day)).toBeUndefined()
  })

  it('is moved as a whole when the clock was set before it', () => {
    const [line] = toSteady(toSteady(newLine, running, 9 * day)[0], done, 9 * day)
    const moved = attemptToSteady(line, finished, 9 * day) as FinishedAttempt
    expect(moved.claimedAt).toBe(finished.claimedAt - 9 * day)
    expect(moved.endedAt - moved.claimedAt).toBe(finished.endedAt - finished.claimedAt)
  })
})

describe('the estimate of a running job', () => {
  it.each([9, -2, -400])('does not move with a clock that is set by %d days', (days) => {
    const queue = aQueue({ running: [aRunningJob(1)], ready: [gpu0], gpus: [gpu0] })
    const seen: EtaMessage = { type: 'queueChanged', queue }
    const clock = (seconds: number, shiftMs: number) => ({
      now: midnight + seconds * 1_000,
      shiftMs,
      stopwatch: () => 0,
    })
    const [state] = transition(initialEta(speeds())[0], seen, clock(0, 0))
    const estimateAt = (seconds: number, shiftMs: number) => {
      const ask = { type: 'estimate', jobIds: [jobId(1)], replyTo: {} as never } as const
      const effects = transition(state, ask, clock(seconds, shiftMs))[1]
      const answered = effects.flatMap((effect) => (effect.do === 'answer' ? [effect.value] : []))
      return (answered[0] as Map<unknown, { p50: number; etaAt: number }>).get(jobId(1))
    }
    const [still, moved] = [estimateAt(100, 0), estimateAt(100, days * day)]
    expect(moved).toEqual({ ...still, etaAt: (still?.etaAt ?? 0) + days * day })
  })
})

type Scene = Readonly<{ waitsMs: number; setByMs: number; does: string; which: number }>

/** Times of all running jobs after each change, as estimates see them. */
function told(story: readonly Scene[]): unknown[] {
  let steady = midnight
  let shift = 0
  let line = newLine
  let jobs = new Map<number, RunningJob>()
  /** How far the clock was set when each attempt was claimed: its readings keep to that. */
  const shifts = new Map<number, number>()
  return story.map(({ waitsMs, setByMs, does, which }) => {
    steady += waitsMs
    shift += setByMs
    jobs = new Map(jobs)
    const job = jobs.get(which)
    if (does === 'claim' && !job) {
      const queue = aQueue({ running: [aRunningJob(which, { claimedAt: steady + shift })] })
      for (const one of queue.running.values()) jobs.set(which, one)
      shifts.set(which, shift)
    } else if (does === 'step' && job) {
      const at = steady + (shifts.get(which) ?? 0)
      const reading = { stage: 'denoising', began: { denoising: at }, steppedAt: at } as const
      jobs.set(which, { ...job, reading })
    } else if (does === 'generate' && job && job.generatedAt === undefined) {
      jobs.set(which, { ...job, phase: 'converting', generatedAt: steady + shift })
    } else if (does === 'finish') jobs.delete(which)
    const running = RunningJobs.of(jobs.values())
    const [next, queue] = toSteady(line, { ...aQueue({}), running }, shift)
    line = next
    return [...queue.running.values()].map(({ jobId, claimedAt, generatedAt, reading }) => [
      ...[jobId, claimedAt, generatedAt, reading?.began, reading?.steppedAt],
    ])
  })
}
