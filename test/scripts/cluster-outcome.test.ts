import { describe, expect, it } from 'vitest'
import { type DemoJob, lossesOf, repeatsOf, tableOf } from '../../scripts/cluster-demo/outcome.ts'
import type { JobJson } from '../../src/http/views/job-view.ts'

const ended = (more: Partial<JobJson> = {}): JobJson =>
  ({
    ...{ status: 'success', node: 'b', gpu_id: 1, attempt: 1, error: null, file: { bytes: 7 } },
    submitted_at: '2026-11-30T12:00:00.000Z',
    started_at: '2026-11-30T12:00:01.500Z',
    ended_at: '2026-11-30T12:00:04.000Z',
    ...more,
  }) as JobJson

const outcome = (more: Partial<DemoJob> = {}): DemoJob => ({
  ...{ prompt: 'a fox', through: 'a', job: ended(), received: 7, completed: 1 },
  ...more,
})

describe('the outcome of the demo of a cluster', () => {
  it('has no loss if every job succeeded and every video arrived', () => {
    expect(lossesOf([outcome(), outcome()])).toEqual([])
  })

  it.each([
    ['is not known any more', outcome({ job: undefined })],
    ['is error: the node is away', outcome({ job: failed('the node is away') })],
    ['is queued: no error', outcome({ job: ended({ status: 'queued' }) })],
    ['has a video of 7 bytes, of which 0 arrived', outcome({ received: undefined })],
  ])('counts a job as lost that %s', (loss, job) => {
    expect(lossesOf([outcome(), job])).toEqual([`job 2 ${loss}`])
  })

  it('names jobs that were generated twice', () => {
    expect(repeatsOf([outcome(), outcome({ completed: 2 })])).toEqual([
      'Job 2 was generated 2 times.',
    ])
  })

  it('shows where each job ran and how long it took', () => {
    const [, , first, second] = tableOf([outcome(), outcome({ job: undefined })]).split('\n')
    expect(first?.trim().split(/\s{2,}/)).toEqual([
      '1',
      'a',
      'b',
      '1',
      '1',
      'success',
      '1.5 s',
      '2.5 s',
    ])
    expect(second?.trim().split(/\s{2,}/)).toEqual(['2', 'a', 'unknown'])
  })
})

function failed(message: string): JobJson {
  return ended({ status: 'error', error: { code: 'node_lost', message } as JobJson['error'] })
}
