import { describe, expect, it } from 'vitest'
import type { PastAttempt } from '../../../src/actors/eta/eta-ports.ts'
import { knowNothing, learnIfDue, remember } from '../../../src/actors/eta/knowledge.ts'
import type { GpuId } from '../../../src/domain/job.ts'
import { anAttempt, speeds } from '../../support/eta.ts'
import { gpu0, midnight } from '../../support/jobs.ts'

/** Rounds of attempts, one on each GPU. */
const pastOf = (gpus: number, rounds: number): PastAttempt[] =>
  Array.from({ length: gpus * rounds }, (_, n) => ({
    ...anAttempt(gpu0, 0, 100),
    gpu: (n % gpus) as GpuId,
    endedAt: midnight + n,
  }))

const knowing = (past: readonly PastAttempt[]) => remember(knowNothing(speeds()), past, [])

describe('the knowledge of past attempts', () => {
  it('keeps 100 attempts of each GPU of one machine', () => {
    expect(knowing(pastOf(8, 150)).past).toHaveLength(800)
  })

  it('keeps fewer of each GPU where there are many, and no GPU without any', () => {
    expect(knowing(pastOf(500, 10)).past).toHaveLength(2_000)
    const { past } = knowing(pastOf(3_000, 2))
    expect(new Set(past.map(({ gpu }) => gpu)).size).toBe(3_000)
    expect(past).toHaveLength(3_000)
  })

  it('makes a new model the less often the more attempts there are', () => {
    const learned = learnIfDue(knowing(pastOf(500, 4)), midnight)
    const more = remember(learned, pastOf(1, 1), [])
    expect(learnIfDue(more, midnight + 30_000)).toBe(more)
    expect(learnIfDue(more, midnight + 50_000).model).not.toBe(learned.model)
    const few = learnIfDue(knowing(pastOf(2, 20)), midnight)
    expect(learnIfDue(remember(few, pastOf(1, 1), []), midnight + 1_500).model).not.toBe(few.model)
  })
})
