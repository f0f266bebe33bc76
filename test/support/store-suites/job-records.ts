/** Contract of a store of jobs: the record of a job and its attempts. */
import { describe, expect, it } from 'vitest'
import { aFailure, aQueuedJob, aRequest, gpu0, gpu1, jobId } from '../jobs.ts'
import {
  began,
  canceled,
  claim,
  error,
  finish,
  forgetVideo,
  generated,
  made,
  minute,
  numbersOf,
  release,
  requestCancel,
  submit,
  video,
} from './operations.ts'
import { commit, type StoreOperation, type StoresOfTest } from './stores.ts'

export function describeRecords(stores: StoresOfTest): void {
  describe('the record of a job', () => {
    it('is as it was submitted', async () => {
      const request = aRequest({
        negativePrompt: 'owls',
        prompt: "a fox'; drop table job; --\n🦊 «été» \\u0000",
        size: '720x1280',
        frames: 81,
        steps: 30,
        guidance: 4.5,
        shift: 3.5,
        seed: Number.MAX_SAFE_INTEGER,
        filename: 'fox.mp4',
      })
      await commit(stores, [submit(1, request)])
      expect(await stores.jobs.find(jobId(1), 'everything')).toEqual({ ...aQueuedJob(1), request })
      expect(await stores.jobs.attempts(jobId(1))).toEqual([])
    })

    it('tells its running, converting and success', async () => {
      const running = { status: 'running', phase: 'generating', gpu: gpu1, filename: 'fox.mp4' }
      await commit(stores, [submit(1)])
      await commit(stores, [claim(1, 1, { gpu: gpu1, filename: 'fox.mp4' })])
      expect(await stores.jobs.find(jobId(1), 'everything')).toMatchObject({
        epoch: 1,
        attempts: 1,
        state: { ...running, claimedAt: minute(1), cancelRequested: false },
      })
      expect((await stateOf(1)).status === 'running' && (await stateOf(1))).not.toHaveProperty(
        'startedAt',
      )
      await commit(stores, [began(1)])
      expect(await stateOf(1)).toMatchObject({ ...running, startedAt: minute(2) })
      await commit(stores, [generated(1)])
      const converting = { ...running, phase: 'converting', generatedAt: minute(3) }
      expect(await stateOf(1)).toMatchObject(converting)
      await commit(stores, [finish(1)])
      expect(await stateOf(1)).toEqual({
        status: 'success',
        gpu: gpu1,
        filename: 'fox.mp4',
        startedAt: minute(2),
        endedAt: minute(4),
        video,
      })
      expect(await stores.jobs.attempts(jobId(1))).toEqual([
        {
          epoch: 1,
          number: 1,
          gpu: gpu1,
          claimedAt: minute(1),
          startedAt: minute(2),
          generatedAt: minute(3),
          endedAt: minute(4),
          outcome: 'success',
        },
      ])
    })

    it('tells why it failed', async () => {
      await commit(stores, [submit(1), claim(1), began(1), finish(1, error)])
      const failure = aFailure('gpu_error')
      const known = { gpu: gpu0, startedAt: minute(2), endedAt: minute(4) }
      expect(await stateOf(1)).toEqual({ status: 'error', failure, ...known })
      expect(await stores.jobs.attempts(jobId(1))).toMatchObject([{ outcome: 'error', failure }])
    })

    it('tells that it was canceled while it waited', async () => {
      await commit(stores, [submit(1), finish(1, canceled, 0)])
      expect(await stateOf(1)).toEqual({ status: 'canceled', endedAt: minute(4) })
      expect(await stores.jobs.attempts(jobId(1))).toEqual([])
    })

    it('keeps the wish to cancel until the end', async () => {
      await commit(stores, [submit(1), claim(1), requestCancel(1)])
      expect(await stateOf(1)).toMatchObject({ status: 'running', cancelRequested: true })
      await commit(stores, [finish(1, canceled)])
      expect(await stateOf(1)).toEqual({
        status: 'canceled',
        gpu: gpu0,
        endedAt: minute(4),
        cancelRequestedAt: minute(3),
      })
      expect(await stores.jobs.attempts(jobId(1))).toMatchObject([{ outcome: 'canceled' }])
    })

    it('waits again as if nothing had been, but for what is known of its attempts', async () => {
      await commit(stores, [submit(1), claim(1), began(1), release(1)])
      expect(await stores.jobs.find(jobId(1), 'everything')).toEqual(
        aQueuedJob(1, { epoch: 1, attempts: 1 }),
      )
      await commit(stores, [claim(1, 2, { gpu: gpu1 }), release(1, 2, false)])
      expect(await stores.jobs.find(jobId(1), 'everything')).toEqual(
        aQueuedJob(1, { epoch: 2, attempts: 1 }),
      )
      const [first, second] = await stores.jobs.attempts(jobId(1))
      expect(first).toMatchObject({ epoch: 1, outcome: 'error', failure: aFailure() })
      expect(second).toEqual({
        epoch: 2,
        number: 2,
        gpu: gpu1,
        claimedAt: minute(1),
        endedAt: minute(4),
        outcome: 'released',
      })
    })

    it('leaves no trace of a former attempt in the next', async () => {
      await commit(stores, [submit(1), claim(1), began(1), generated(1), release(1), claim(1, 2)])
      const state = await stateOf(1)
      expect(state).toMatchObject({ status: 'running', phase: 'generating' })
      expect(state).not.toHaveProperty('startedAt')
      expect(state).not.toHaveProperty('generatedAt')
    })

    it('says when its file was deleted, and stays', async () => {
      await commit(stores, [...made(1), forgetVideo(1)])
      expect(await stateOf(1)).toMatchObject({ status: 'success', fileDeletedAt: minute(9) })
    })

    it('has the image it was submitted with', async () => {
      const image = { type: 'png', width: 640, height: 480, bytes: 1234, sha256: 'ab' } as const
      const request = { ...aRequest(), image, remixOf: jobId(9) }
      const submitted = { ...submit(1), request } as StoreOperation
      await commit(stores, [submitted])
      expect((await stores.jobs.find(jobId(1), 'everything'))?.request).toEqual(request)
    })

    it('of a job that never was is nothing', async () => {
      expect(await stores.jobs.find(jobId(1), 'everything')).toBeUndefined()
      expect(await stores.jobs.attempts(jobId(1))).toEqual([])
      expect(await stores.jobs.findMany([jobId(1)], 'everything')).toEqual([])
      expect(await stores.jobs.findMany([], 'everything')).toEqual([])
    })

    it('is found among others', async () => {
      await commit(stores, [submit(1), submit(2), submit(3)])
      const found = await stores.jobs.findMany([jobId(3), jobId(1), jobId(9)], 'everything')
      expect(numbersOf(found).toSorted()).toEqual([1, 3])
    })

    async function stateOf(n: number) {
      const job = await stores.jobs.find(jobId(n), 'everything')
      if (!job) throw new Error(`no job ${n}`)
      return job.state
    }
  })
}
