/** Contract of a store of jobs: what records say of files. */
import { describe, expect, it } from 'vitest'
import type { VideoSelection } from '../../../src/actors/archive/archive-ports.ts'
import { hasFile } from '../../../src/domain/job.ts'
import { gpu1, jobId } from '../jobs.ts'
import {
  announce,
  claim,
  error,
  expire,
  findVideo,
  finish,
  forgetVideo,
  keepVideo,
  loseVideo,
  made,
  minute,
  numbersOf,
  remove,
  submit,
} from './operations.ts'
import { commit, type StoresOfTest } from './stores.ts'

export function describeFiles(stores: StoresOfTest): void {
  const find = (n: number) => stores.jobs.find(jobId(n), 'everything')
  const announced = () => stores.jobs.announcedRemovals()
  const recorded = async (after = 0, limit = 9) =>
    (await stores.jobs.recordedFiles(after, limit)).map(({ seq, isLost }) => [seq, isLost])
  const withVideo = async () => {
    const filter = { order: 'asc', limit: 9, withVideo: true } as const
    return numbersOf((await stores.jobs.list(filter, 'everything')).jobs)
  }

  describe('a removal that is announced', () => {
    it('is known until it is completed or taken back, and its video is not shown meanwhile', async () => {
      await commit(
        stores,
        [1, 2, 3, 4, 5].flatMap((n) => made(n)),
      )
      await commit(stores, [announce(1), announce(2, 'remove'), announce(3, 'expire'), announce(4)])
      expect(await announced()).toEqual([
        { jobId: jobId(1), removal: 'video' },
        { jobId: jobId(2), removal: 'remove' },
        { jobId: jobId(3), removal: 'expire' },
        { jobId: jobId(4), removal: 'video' },
      ])
      expect(await find(1)).toSatisfy((job) => !hasFile(job))
      expect(await withVideo()).toEqual([5])
      expect(await stores.jobs.isNamePromised('video-1.mp4')).toBe(true)

      await commit(stores, [forgetVideo(1), remove(2), expire(3), keepVideo(4)])
      expect(await announced()).toEqual([])
      expect(await withVideo()).toEqual([4, 5])
      expect(await stores.jobs.isNamePromised('video-1.mp4')).toBe(false)
    })

    it('is none of a job without a file', async () => {
      await commit(stores, [submit(1), claim(1, 1, { gpu: gpu1 }), submit(2), finish(2, error, 0)])
      await commit(stores, [...made(3), forgetVideo(3), ...made(4), remove(4)])
      await commit(
        stores,
        [1, 2, 3, 4].map((n) => announce(n)),
      )
      expect(await announced()).toEqual([])
    })
  })

  describe('a lost file', () => {
    const lost = { fileLost: 'missing', fileDeletedAt: minute(9) }

    it('is recorded with its reason, and no longer listed or promised', async () => {
      await commit(stores, [...made(1), announce(1), loseVideo(1)])
      expect(await find(1)).toMatchObject({ state: { ...lost, status: 'success' } })
      expect(await find(1)).not.toHaveProperty('state.removing')
      expect(await withVideo()).toEqual([])
      expect(await stores.jobs.isNamePromised('video-1.mp4')).toBe(false)
      expect(await stores.retention.videoBytes([])).toBe(0)
      expect(await stores.jobs.findLost('video-1.mp4', 'everything')).toMatchObject({
        id: jobId(1),
      })
      expect(await stores.jobs.findLost('video-1.mp4', { owner: 'ada' })).toBeUndefined()
    })

    it('is selected for a deletion by id and name, and deleted like others', async () => {
      await commit(stores, [...made(1), ...made(2), loseVideo(1, 'replaced')])
      const selected = async (selection: VideoSelection) =>
        numbersOf(await stores.jobs.videosToDelete(selection, 'everything'))
      const selection = { filenames: ['video-1.mp4', 'video-2.mp4'] }
      expect(await selected(selection)).toEqual([1, 2])
      expect(await selected({ ids: [jobId(1)] })).toEqual([1])
      expect(await selected({ status: ['success'] })).toEqual([2])
      expect(numbersOf(await stores.jobs.videos(selection, 'everything'))).toEqual([2])
      await commit(stores, [forgetVideo(1)])
      expect(await selected(selection)).toEqual([2])
      expect(await find(1)).not.toHaveProperty('state.fileLost')
    })

    it('may be lost for another reason later, and keeps the time', async () => {
      await commit(stores, [...made(1), loseVideo(1), loseVideo(1, 'replaced', minute(20))])
      expect(await find(1)).toMatchObject({ state: { ...lost, fileLost: 'replaced' } })
    })

    it('is found again as it was', async () => {
      await commit(stores, made(1))
      const before = await find(1)
      await commit(stores, [loseVideo(1), findVideo(1)])
      expect(await find(1)).toEqual(before)
    })

    it('stays lost when another job has its name by now', async () => {
      const named = { filename: 'a.mp4' }
      await commit(stores, [...made(1, named), loseVideo(1)])
      await commit(stores, [submit(2, named), claim(2, 1, named), finish(2), findVideo(1)])
      expect(await find(1)).toMatchObject({ state: lost })
    })

    it('is none that was deleted on request, or of a job that was removed', async () => {
      await commit(stores, [...made(1), forgetVideo(1), loseVideo(1), findVideo(1)])
      expect(await find(1)).not.toHaveProperty('state.fileLost')
      expect(await find(1)).toMatchObject({ state: { fileDeletedAt: minute(9) } })
      await commit(stores, [...made(2), loseVideo(2), remove(2), findVideo(2)])
      expect(await find(2)).toBeUndefined()
      expect(await stores.jobs.findLost('video-2.mp4', 'everything')).toBeUndefined()
    })
  })

  describe('the files of all records', () => {
    it('are listed in pages, with those that are lost and without those that are deleted', async () => {
      await commit(
        stores,
        [1, 2, 3, 4, 5, 6].flatMap((n) => made(n)),
      )
      await commit(stores, [forgetVideo(2), loseVideo(3), announce(4), remove(5), submit(7)])
      expect(await recorded()).toEqual([
        [1, false],
        [3, true],
        [6, false],
      ])
      expect(await recorded(0, 2)).toEqual([
        [1, false],
        [3, true],
      ])
      expect(await recorded(3, 2)).toEqual([[6, false]])
      const [first] = await stores.jobs.recordedFiles(0, 1)
      expect(first).toMatchObject({ jobId: jobId(1), filename: 'video-1.mp4', bytes: 3_000_000 })
    })
  })
}
