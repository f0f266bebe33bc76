/** Contract of a store of jobs: removal, expiry, pins and tombstones. */
import { describe, expect, it } from 'vitest'
import { aFailure, aRequest, jobId } from '../jobs.ts'
import {
  claim,
  expire,
  finish,
  generated,
  made,
  minute,
  numbersOf,
  pin,
  remove,
  submit,
} from './operations.ts'
import { commit, type StoreOperation, type StoresOfTest } from './stores.ts'

export function describeRemoval(stores: StoresOfTest): void {
  describe('a job that is removed', () => {
    it('is gone for everybody once it is removed, and its attempts are not', async () => {
      await commit(stores, [...made(1, { filename: 'fox.mp4' }), submit(2), remove(1)])
      expect(await stores.jobs.find(jobId(1), 'everything')).toBeUndefined()
      expect(await stores.jobs.findMany([jobId(1)], 'everything')).toEqual([])
      const list = (filter = {}) =>
        stores.jobs.list({ order: 'asc', limit: 9, ...filter }, 'everything')
      expect(numbersOf((await list()).jobs)).toEqual([2])
      // Who pages through may have stopped just there.
      expect(numbersOf((await list({ after: jobId(1) })).jobs)).toEqual([2])
      expect(await stores.jobs.lookup(aRequest().prompt, 9, 'everything')).toHaveLength(1)
      expect(await stores.jobs.videos({ status: ['success'] }, 'everything')).toEqual([])
      expect(await stores.jobs.isNamePromised('fox.mp4')).toBe(false)
      expect(await stores.eta.recent(9)).toHaveLength(1)
      expect((await stores.jobs.load(minute(11))).nextSeq).toBe(3)
    })

    it('leaves nothing of its prompt and of its failure', async () => {
      const prompt = 'not for everybody'
      const failed = finish(1, { status: 'error', failure: { ...aFailure(), message: prompt } })
      const said = { prompt, negativePrompt: prompt }
      await commit(stores, [submit(1, said), claim(1), failed, remove(1)])
      expect(await stores.contents()).not.toContain(prompt)
    })

    it.each([
      ['waits', [submit(1)]],
      ['runs', [submit(1), claim(1)]],
    ])('is not removed while its job %s', async (_what, before) => {
      await commit(stores, [...before, remove(1)])
      expect(await stores.jobs.find(jobId(1), 'everything')).toBeDefined()
    })
  })

  describe('a job that is over its time', () => {
    const day = 24 * 60 * 60_000

    it('is no longer there, but for when it went', async () => {
      const prompt = 'not for everybody'
      const failed = finish(2, { status: 'error', failure: { ...aFailure(), message: prompt } })
      await commit(stores, [
        ...[submit(1, { prompt }, 'fox'), claim(1), finish(1)],
        ...[submit(2, { prompt }, 'fox'), claim(2), failed],
        ...[expire(1), expire(2)],
      ])
      expect(await stores.jobs.find(jobId(1), 'everything')).toBeUndefined()
      const gone = { jobId: jobId(1), expiredAt: minute(10) }
      for (const scope of ['everything', { owner: 'fox' }, { jobId: jobId(1) }] as const) {
        expect(await stores.jobs.findExpired({ jobId: jobId(1) }, scope)).toEqual(gone)
        expect(await stores.jobs.findExpired({ filename: 'VIDEO-1.mp4' }, scope)).toEqual(gone)
      }
      for (const scope of [{ owner: 'owl' }, { jobId: jobId(2) }] as const) {
        expect(await stores.jobs.findExpired({ jobId: jobId(1) }, scope)).toBeUndefined()
        expect(await stores.jobs.findExpired({ filename: 'video-1.mp4' }, scope)).toBeUndefined()
      }
      expect(await stores.contents()).not.toContain(prompt)
    })

    it('is not told of when it was deleted on request, nor does it expire then', async () => {
      await commit(stores, [...made(1), remove(1), expire(1)])
      expect(await stores.jobs.findExpired({ jobId: jobId(1) }, 'everything')).toBeUndefined()
    })

    it.each([
      ['waits', [submit(1)]],
      ['runs', [submit(1), claim(1)]],
      ['is converted', [submit(1), claim(1), generated(1)]],
    ])('is none that %s', async (_, operations) => {
      await commit(stores, [...operations, expire(1)])
      expect(await stores.jobs.find(jobId(1), 'everything')).toBeDefined()
    })

    it('leaves what estimates learn from', async () => {
      await commit(stores, [...made(1), expire(1)])
      expect(await stores.eta.recent(10)).toHaveLength(1)
    })

    it('is the latest of its name, and its name is free', async () => {
      const named = { filename: 'a.mp4' }
      await commit(stores, [...made(1, named), expire(1)])
      expect(await stores.jobs.isNamePromised('a.mp4')).toBe(false)
      await commit(stores, [submit(2, named), claim(2, 1, named), finish(2), expire(2, minute(20))])
      expect(await stores.jobs.findExpired(named, 'everything')).toEqual({
        jobId: jobId(2),
        expiredAt: minute(20),
      })
    })

    it('is kept while it is pinned, and found by that', async () => {
      await commit(stores, [...made(1), ...made(2), pin(1), pin(2), pin(2, false)])
      expect(await stores.jobs.find(jobId(1), 'everything')).toMatchObject({ pinnedAt: minute(5) })
      expect(await stores.jobs.find(jobId(2), 'everything')).not.toHaveProperty('pinnedAt')
      for (const [pinned, n] of [
        [true, 1],
        [false, 2],
      ] as const) {
        const { jobs } = await stores.jobs.list({ order: 'asc', limit: 9, pinned }, 'everything')
        expect(jobs.map(({ id }) => id)).toEqual([jobId(n)])
      }
    })

    it('is forgotten by name when its time is over, and altogether when many came after it', async () => {
      const forget = (before: number): StoreOperation => ({ op: 'forgetTombstones', before })
      await commit(stores, [...made(1), expire(1), ...made(2), expire(2, minute(20)), submit(3)])
      await commit(stores, [forget(minute(15))])
      expect(await stores.jobs.findExpired({ jobId: jobId(1) }, 'everything')).toBeUndefined()
      expect(await stores.jobs.findExpired({ jobId: jobId(2) }, 'everything')).toBeDefined()
      expect(
        await stores.jobs.findExpired({ filename: 'video-1.mp4' }, 'everything'),
      ).toBeUndefined()
      const contents = await stores.contents()
      expect(contents).toContain(jobId(1))
      expect(contents).toContain('video-2.mp4')
      expect(contents).not.toContain('video-1.mp4')
      expect(await stores.eta.recent(10)).toHaveLength(2)

      await commit(stores, [{ ...submit(4), seq: 1_001 } as StoreOperation])
      await commit(stores, [forget(minute(0) + 90 * day)])
      const left = await stores.contents()
      expect([1, 2, 3, 4].filter((n) => left.includes(jobId(n)))).toEqual([2, 3, 4])
      expect(await stores.eta.recent(10)).toHaveLength(1)
    })
  })
}
