/** Contract of a store of jobs: names of files. */
import { describe, expect, it } from 'vitest'
import {
  canceled,
  claim,
  error,
  finish,
  forgetVideo,
  generated,
  release,
  submit,
  success,
} from './operations.ts'
import { commit, type StoresOfTest } from './stores.ts'

export function describeNames(stores: StoresOfTest): void {
  describe('a name', () => {
    it('is promised while its job waits, runs or has its file', async () => {
      const promised = () => stores.jobs.isNamePromised('fox.mp4')
      expect(await promised()).toBe(false)
      await commit(stores, [submit(1, { filename: 'Fox.mp4' })])
      expect(await promised()).toBe(true)
      await commit(stores, [claim(1, 1, { filename: 'Fox.mp4' })])
      expect(await promised()).toBe(true)
      await commit(stores, [release(1)])
      expect(await promised()).toBe(true)
      await commit(stores, [claim(1, 2, { filename: 'Fox.mp4' }), generated(1, 2)])
      await commit(stores, [finish(1, success, 2)])
      expect(await promised()).toBe(true)
      await commit(stores, [forgetVideo(1)])
      expect(await promised()).toBe(false)
    })

    it('is promised in other letters too', async () => {
      await commit(stores, [submit(1, { filename: 'Straße Émile.mp4' })])
      for (const alike of ['straße émile.mp4', 'STRASSE E\u0301MILE.mp4']) {
        expect(await stores.jobs.isNamePromised(alike)).toBe(true)
      }
      expect(await stores.jobs.isNamePromised('Strase Émile.mp4')).toBe(false)
      await commit(stores, [finish(1, canceled, 0)])
      expect(await stores.jobs.isNamePromised('straße émile.mp4')).toBe(false)
    })

    it.each([error, canceled])('is not promised once its job has ended as $status', async (end) => {
      await commit(stores, [submit(1, { filename: 'fox.mp4' }), finish(1, end, 0)])
      expect(await stores.jobs.isNamePromised('fox.mp4')).toBe(false)
    })

    it('that was made for an attempt goes with it', async () => {
      await commit(stores, [submit(1), claim(1, 1, { filename: 'made.mp4' })])
      expect(await stores.jobs.isNamePromised('made.mp4')).toBe(true)
      await commit(stores, [release(1)])
      expect(await stores.jobs.isNamePromised('made.mp4')).toBe(false)
    })
  })
}
