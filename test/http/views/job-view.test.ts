import * as v from 'valibot'
import { describe, expect, it } from 'vitest'
import { createPlace } from '../../../src/actors/actor.ts'
import type { ToldEvent } from '../../../src/actors/webhook/webhook-actor.ts'
import type { Attempt, GpuId, Job } from '../../../src/domain/job.ts'
import { NodeName } from '../../../src/domain/node.ts'
import { createEventBody } from '../../../src/http/views/event-body.ts'
import { createJobRenderer } from '../../../src/http/views/job-view.ts'
import {
  aFailure,
  aQueuedJob,
  aRunningJob,
  aVideo,
  gpu0,
  gpu1,
  gpu2,
  midnight,
} from '../../support/jobs.ts'

const nodes = new Map([
  [gpu0, v.parse(NodeName, 'a')],
  [gpu1, v.parse(NodeName, 'b')],
])
const render = createJobRenderer({
  eta: createPlace('eta'),
  links: { urlOf: () => '', thumbnailOf: () => '' },
  retentionMs: 0,
  nodeOf: (gpu) => nodes.get(gpu),
})

const ended = (state: object): Job => ({ ...aRunningJob(1), state: state as Job['state'] })
const times = { startedAt: midnight, endedAt: midnight }
const success = (gpu: GpuId) =>
  ended({ status: 'success', gpu, filename: 'a.mp4', video: aVideo(), ...times })

describe('the node of a job', () => {
  it.each([
    ['is that of its GPU while it runs', aRunningJob(1, { gpu: gpu1 }), 'b'],
    ['is that of its GPU when it has a video', success(gpu1), 'b'],
    [
      'is that of its last GPU when it failed',
      ended({ status: 'error', failure: aFailure(), gpu: gpu0, ...times }),
      'a',
    ],
    ['is not known while it waits', aQueuedJob(1), null],
    [
      'is not known when it was canceled before it had a GPU',
      ended({ status: 'canceled', ...times }),
      null,
    ],
    ['is not known when its GPU is of no node', success(gpu2), null],
  ])('%s', (_, job, node) => {
    expect(render.job({ job }, undefined)).toMatchObject({ node })
  })

  it('is in the event of its end', () => {
    const ids = { id: 'evt_1', webhookId: 'whk' } as Pick<ToldEvent, 'id' | 'webhookId'>
    const told = { event: 'job.success', createdAt: midnight, job: success(gpu1) } as const
    const body = createEventBody(render)({ ...ids, ...told })
    expect(JSON.parse(body)).toMatchObject({ data: { gpu_id: 1, node: 'b' } })
  })
})

describe('the node of an attempt', () => {
  it('is that of the GPU of the attempt', () => {
    const attempts = [gpu0, gpu1, gpu2].map(
      (gpu, index) => ({ number: index, epoch: index, gpu, claimedAt: midnight }) as Attempt,
    )
    const shown = render.attempts({ job: aRunningJob(1), attempts })
    expect(shown.map(({ node }) => node)).toEqual(['a', 'b', null])
  })
})
