/** Contract of a store of jobs: stale and contradictory operations. */
import { describe, expect, it } from 'vitest'
import { gpu0, gpu1, jobId } from '../jobs.ts'
import {
  account,
  began,
  canceled,
  claim,
  error,
  finish,
  forgetVideo,
  generated,
  loseNode,
  made,
  minute,
  reclaim,
  release,
  requestCancel,
  submit,
  success,
} from './operations.ts'
import {
  commit,
  expectConflict,
  expectStale,
  type StoreOperation,
  type StoresOfTest,
} from './stores.ts'

export function describeEpochs(stores: StoresOfTest): void {
  describe('a change that comes too late', () => {
    it.each<[what: string, late: StoreOperation, before: StoreOperation[]]>([
      ['a claim of an epoch that was', claim(1, 1, { gpu: gpu1 }), [claim(1), release(1)]],
      ['a claim of an epoch to come', claim(1, 3), [claim(1), release(1)]],
      ['a start', began(1, 1), [claim(1), release(1), claim(1, 2)]],
      ['an end of the generation', generated(1, 1), [claim(1), release(1), claim(1, 2)]],
      ['a release', release(1, 1), [claim(1), release(1), claim(1, 2)]],
      ['a return', reclaim(1, 1), [claim(1), loseNode(1), claim(1, 2)]],
      ['a return of what runs', reclaim(1, 1), [claim(1)]],
      ['a wish to cancel', requestCancel(1, 1), [claim(1), release(1), claim(1, 2)]],
      ['an end', finish(1, success, 1), [claim(1), release(1), claim(1, 2)]],
      ['an end after the end', finish(1, success), [claim(1), finish(1, canceled)]],
      ['a claim after the end', claim(1, 2), [claim(1), finish(1, error)]],
      ['a release after the end', release(1), [claim(1), finish(1, canceled)]],
      ['anything of a job that never was', finish(8, canceled, 0), []],
    ])('is refused: %s', async (_what, late, before) => {
      await commit(stores, [submit(1), ...before])
      const was = await stores.contents()
      await expectStale(stores, [late])
      expect(await stores.contents()).toEqual(was)
    })

    it('takes everything with it that was to be written together', async () => {
      await commit(stores, [submit(1), claim(1), submit(2)])
      const was = await stores.contents()
      const batch = [submit(3), claim(2, 1, { gpu: gpu1 }), finish(1, success, 9), submit(4)]
      await expectStale(stores, batch)
      expect(await stores.contents()).toEqual(was)
      await commit(stores, [submit(3), submit(4)])
      expect((await stores.jobs.load(0)).nextSeq).toBe(5)
    })

    it('is named with its job and epoch', async () => {
      await commit(stores, [submit(1)])
      await expectStale(stores, [began(1, 7)], `began of ${jobId(1)} at epoch 7`)
    })
  })

  describe('an attempt on a node that was lost', () => {
    it('is known to a starting queue until its job ends, however often that was claimed since', async () => {
      await commit(stores, [
        ...[submit(1), claim(1), began(1), loseNode(1), claim(1, 2, { gpu: gpu1 })],
        ...[submit(2), claim(2), generated(2), loseNode(2), submit(3), claim(3), release(3)],
        ...[submit(4), claim(4), loseNode(4), finish(4, canceled)],
      ])
      const claimed = { gpu: gpu0, epoch: 1, claimedAt: minute(1) }
      expect((await stores.jobs.load(0)).lost).toEqual([
        { jobId: jobId(1), ...claimed, startedAt: minute(2) },
        { jobId: jobId(2), ...claimed, generatedAt: minute(3) },
      ])
    })

    it('is not known to a starting queue once it is accounted for, and others of its job are', async () => {
      await commit(stores, [
        ...[submit(1), claim(1), loseNode(1), claim(1, 2, { gpu: gpu1 }), loseNode(1, 2)],
        ...[submit(2), claim(2), loseNode(2), account(1), account(2)],
      ])
      expect((await stores.jobs.load(0)).lost).toMatchObject([{ jobId: jobId(1), epoch: 2 }])
    })

    it('goes on as if it had never been released when it is taken back', async () => {
      await commit(stores, [submit(1), claim(1), began(1)])
      const was = [await stores.jobs.load(0), await stores.jobs.attempts(jobId(1))]
      await commit(stores, [loseNode(1)])
      expect(await stores.jobs.attempts(jobId(1))).toMatchObject([{ outcome: 'error' }])
      await commit(stores, [reclaim(1)])
      expect([await stores.jobs.load(0), await stores.jobs.attempts(jobId(1))]).toEqual(was)
      await commit(stores, [generated(1), finish(1, success)])
      expect(await stores.jobs.attempts(jobId(1))).toMatchObject([{ outcome: 'success' }])
    })
  })

  describe('the database itself refuses', () => {
    it.each<[what: string, batch: StoreOperation[]]>([
      ['a second job of the same id', [submit(1), { ...submit(1), seq: 2 } as StoreOperation]],
      ['a second job of the same number', [submit(1), { ...submit(2), seq: 1 } as StoreOperation]],
      ['two generations on one GPU', [submit(1), submit(2), claim(1), claim(2)]],
      [
        'two waiting jobs of one file',
        [submit(1, { filename: 'fox.mp4' }), submit(2, { filename: 'FOX.mp4' })],
      ],
      [
        'a job of the name of a finished one',
        [...made(1, { filename: 'fox.mp4' }), submit(2, { filename: 'fox.mp4' })],
      ],
      [
        'two attempts of one file',
        [
          ...[submit(1), submit(2), claim(1, 1, { filename: 'fox.mp4' })],
          claim(2, 1, { gpu: gpu1, filename: 'fox.mp4' }),
        ],
      ],
    ])('%s, and with it all of the batch', async (_what, batch) => {
      const was = await stores.contents()
      await expectConflict(stores, batch)
      expect(await stores.contents()).toEqual(was)
    })

    it.each<[what: string, batch: StoreOperation[]]>([
      [
        'the next generation on a GPU whose last one is being converted',
        [submit(1), claim(1), generated(1), submit(2), claim(2)],
      ],
      ['the next after a release', [submit(1), claim(1), release(1), submit(2), claim(2)]],
      ['generations on two GPUs', [submit(1), submit(2), claim(1), claim(2, 1, { gpu: gpu1 })]],
      [
        'a name whose job has failed',
        [submit(1, { filename: 'a.mp4' }), finish(1, error, 0), submit(2, { filename: 'a.mp4' })],
      ],
      [
        'a name whose file was deleted',
        [...made(1, { filename: 'a.mp4' }), forgetVideo(1), submit(2, { filename: 'a.mp4' })],
      ],
    ])('but not %s', async (_what, batch) => {
      const was = await stores.contents()
      await commit(stores, batch)
      expect(await stores.contents()).not.toEqual(was)
    })
  })
}
