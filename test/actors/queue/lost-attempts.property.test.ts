import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  attemptsOf,
  attemptsOn,
  lostAttempts,
  noteLost,
  withoutAttempts,
} from '../../../src/actors/queue/lost-attempts.ts'
import type { LostAttempt } from '../../../src/actors/queue/queue-ports.ts'
import { gpu0, gpu1, gpu2, jobId, midnight } from '../../support/jobs.ts'

const jobs = [1, 2, 3].map(jobId)
const gpus = [gpu0, gpu1, gpu2]

const change = fc.record({
  isLost: fc.boolean(),
  job: fc.constantFrom(...jobs),
  gpu: fc.constantFrom(...gpus),
  epoch: fc.integer({ min: 1, max: 4 }),
})

describe('attempts that were lost with their nodes', () => {
  it('are found by their job and by their GPU, until they are accounted for', () => {
    const story = fc.array(change, { maxLength: 40 })
    fc.assert(
      fc.property(story, (changes) => {
        let [lost, expected] = [lostAttempts([]), [] as readonly LostAttempt[]]
        for (const { isLost, job, gpu, epoch } of changes) {
          const attempt = { jobId: job, epoch, gpu, claimedAt: midnight }
          const over = attemptsOn(lost, gpu)
          expected = isLost ? [...expected, attempt] : expected.filter((one) => one.gpu !== gpu)
          lost = isLost ? noteLost(lost, attempt) : withoutAttempts(lost, over)
        }
        for (const job of jobs) {
          expect(attemptsOf(lost, job)).toEqual(expected.filter((one) => one.jobId === job))
        }
        for (const gpu of gpus) {
          expect(attemptsOn(lost, gpu)).toEqual(expected.filter((one) => one.gpu === gpu))
        }
      }),
    )
  })
})
