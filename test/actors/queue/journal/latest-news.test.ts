import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { latestNews } from '../../../../src/actors/queue/journal/latest-news.ts'
import type { QueueEffect } from '../../../../src/actors/queue/queue-effects.ts'
import type { QueueNews } from '../../../../src/actors/queue/queue-protocol.ts'
import { restoreQueue } from '../../../../src/actors/queue/queue-restore.ts'
import { transition } from '../../../../src/actors/queue/rules/queue-transition.ts'
import { type Reading, stages } from '../../../../src/domain/job.ts'
import { soleNode } from '../../../../src/domain/node.ts'
import {
  aFailure,
  aQueuedJob,
  aRunningJob,
  emptyQueue,
  gpu0,
  gpu1,
  gpuId,
  jobId,
  midnight,
  queueSettings,
} from '../../../support/jobs.ts'

const reported = (job: number, reading: Reading, epoch = 1): QueueNews => ({
  type: 'generationReported',
  ...{ jobId: jobId(job), epoch, gpu: gpuId(job - 1), reading },
})
const step = (job: number, step: number, epoch?: number) =>
  reported(job, { stage: 'denoising', step, totalSteps: 50 }, epoch)
const failed = (job: number, code: Parameters<typeof aFailure>[0] = 'disk_full'): QueueNews => ({
  type: 'generationEnded',
  ...{ jobId: jobId(job), epoch: 1, result: { how: 'failed', failure: aFailure(code) } },
})
const room = (hasRoom: boolean): QueueNews => ({ type: 'roomChecked', node: soleNode, hasRoom })
const checked = (ok: boolean): QueueNews => ({
  type: 'environmentChecked',
  ...{ node: soleNode, checks: [{ name: 'python', ok, detail: 'as it is' }] },
})

describe('news that waits for a store', () => {
  it('has one reading of each attempt and one check of each kind, however many there were', () => {
    const many = Array.from({ length: 10_000 }, (_, number) => [
      ...[checked(true), step(1, number), room(true)],
    ])
    const news = [...many.flat(), step(2, 3), step(1, 1, 2), room(false)]
    expect(latestNews(news)).toEqual([
      ...[checked(true), step(1, 9_999), step(2, 3), step(1, 1, 2), room(false)],
    ])
  })

  it('keeps the reading that is furthest, not one that comes late', () => {
    expect(latestNews([step(1, 8), step(1, 7)])).toEqual([step(1, 8)])
  })

  it('keeps the reading before the end of an attempt, which is stored with it', () => {
    const news = [step(1, 8), failed(1), step(1, 9)]
    expect(latestNews(news)).toEqual(news)
  })

  it('keeps failed checks between those that succeed', () => {
    const news = [checked(true), checked(false), checked(true)]
    expect(latestNews(news)).toEqual(news)
  })

  it('brings the queue to the same state, and the store to the same records', () => {
    const told = fc.array(someNews, { maxLength: 40, size: 'max' })
    fc.assert(
      fc.property(told, (news) => {
        expect(outcome(latestNews(news))).toEqual(outcome(news))
      }),
    )
  })
})

/** Without checks of the disk: a job that would have been claimed by an earlier one may wait after the latest. */
const someNews: fc.Arbitrary<QueueNews> = fc.oneof(
  { weight: 8, arbitrary: someReading() },
  { weight: 2, arbitrary: fc.boolean().map(checked) },
  { weight: 1, arbitrary: fc.constantFrom(failed(1), failed(2), failed(1, 'gpu_error')) },
  {
    weight: 1,
    arbitrary: fc.constantFrom<QueueNews>(
      { type: 'gpuGone', gpu: gpu0, givenUp: false },
      { type: 'gpuReady', gpu: gpu1, incarnation: 'another' },
      { type: 'gpuReady', gpu: gpu0, incarnation: 'it', holding: { jobId: jobId(1), epoch: 1 } },
      { type: 'nodeLost', node: soleNode, gpus: [gpu0, gpu1] },
      { type: 'generationStarted', jobId: jobId(1), epoch: 1, gpu: gpu0, startedAt: midnight },
    ),
  },
)

function someReading(): fc.Arbitrary<QueueNews> {
  const reading = fc.record(
    {
      stage: fc.constantFrom(...stages.slice(0, -1)) as fc.Arbitrary<Reading['stage']>,
      step: fc.nat(3),
      began: fc.record({ loading: fc.nat(9) }, { requiredKeys: [] }),
      peakVramBytes: fc.nat(9),
      source: fc.constantFrom('events', 'log'),
    },
    { requiredKeys: ['stage'] },
  )
  const told = fc.record({
    job: fc.constantFrom(1, 2),
    reading,
    epoch: fc.constantFrom(1, 1, 1, 2),
  })
  return told.map(({ job, reading, epoch }) => reported(job, reading as Reading, epoch))
}

function outcome(news: readonly QueueNews[]) {
  const jobs = [aRunningJob(1), aRunningJob(2, { gpu: gpu1 })]
  const stored = { ...emptyQueue, running: jobs, waiting: [aQueuedJob(3)], nextSeq: 4 }
  let state = restoreQueue(queueSettings, stored)
  const records: QueueEffect[] = []
  for (const message of news) {
    const [next, effects] = transition(state, message, midnight, midnight)
    state = next
    records.push(...effects.filter((effect) => effect.do === 'store'))
  }
  return { state, records }
}
