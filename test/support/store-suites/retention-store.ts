import { describe, expect, it } from 'vitest'
import type { FinishedFilter } from '../../../src/actors/janitor/janitor-ports.ts'
import type { GpuId } from '../../../src/domain/job.ts'
import { gpu1, gpu2, jobId } from '../jobs.ts'
import {
  announce,
  claim,
  error,
  expire,
  finish,
  forgetVideo,
  keepVideo,
  loseVideo,
  minute,
  pin,
  submit,
  success,
  video,
} from './operations.ts'
import { type CreateStores, commit, useStores } from './stores.ts'

/** Contract that every store of finished jobs fulfils. */
export function describeRetentionStore(name: string, createStores: CreateStores): void {
  describe(`the store of finished jobs on ${name}`, () => {
    const stores = useStores(createStores)

    describe('what is over', () => {
      it('comes in the order of the ends, a page at a time', async () => {
        expect([await stores.retention.latestEnd(), await stores.retention.videoBytes([])]).toEqual(
          [undefined, 0],
        )
        await commit(stores, [
          ...[submit(1), claim(1), finish(1, success, 1, minute(9))],
          ...[submit(2), claim(2), finish(2, error, 1, minute(8))],
          ...[submit(3), claim(3), finish(3, success, 1, minute(8))],
          ...[submit(4), claim(4), finish(4, success, 1, minute(20)), pin(4)],
          ...[submit(5), claim(5)],
        ])
        const ids = async (filter: Partial<FinishedFilter>) =>
          (await stores.retention.finished({ limit: 9, ...filter })).map(({ jobId: id }) => id)
        expect(await ids({})).toEqual([2, 3, 1].map(jobId))
        expect(await ids({ limit: 2 })).toEqual([2, 3].map(jobId))
        expect(await ids({ after: { endedAt: minute(8), seq: 2 } })).toEqual([3, 1].map(jobId))
        expect(await ids({ endedBefore: minute(9) })).toEqual([2, 3].map(jobId))
        expect(await ids({ endedBefore: minute(8) })).toEqual([])
        expect(await ids({ status: ['error'] })).toEqual([jobId(2)])
        expect(await ids({ withVideo: true })).toEqual([3, 1].map(jobId))
        expect(await stores.retention.latestEnd()).toBe(minute(9))
        expect(await stores.retention.videoBytes([])).toBe(3 * video.bytes)
        await commit(stores, [forgetVideo(1), expire(3)])
        expect(await stores.retention.videoBytes([])).toBe(video.bytes)
        expect(await ids({})).toEqual([2, 1].map(jobId))
      })

      it('comes while its removal is announced, which a start may take back', async () => {
        await commit(stores, [submit(1), claim(1), finish(1, success), announce(1)])
        expect(await stores.retention.finished({ limit: 9 })).toHaveLength(1)
        await commit(stores, [keepVideo(1)])
        expect(await stores.retention.finished({ limit: 9 })).toHaveLength(1)
      })

      it('leaves out files of machines that are away, and no job without a file', async () => {
        await commit(stores, [
          ...[submit(1), claim(1), finish(1, success, 1, minute(1))],
          ...[submit(2), claim(2, 1, { gpu: gpu1 }), finish(2, success, 1, minute(2))],
          ...[submit(3), claim(3, 1, { gpu: gpu1 }), finish(3, error, 1, minute(3))],
          ...[submit(4), claim(4, 1, { gpu: gpu1 }), finish(4, success, 1, minute(4))],
          ...[submit(5), claim(5, 1, { gpu: gpu1 }), finish(5, success, 1, minute(5))],
          ...[forgetVideo(4), loseVideo(5, 'missing')],
        ])
        const idsWithout = async (...away: GpuId[]) =>
          (await stores.retention.finished({ limit: 9, away })).map(({ jobId: id }) => id)
        expect(await idsWithout(gpu2)).toEqual([1, 2, 3, 4, 5].map(jobId))
        expect(await idsWithout(gpu1, gpu2)).toEqual([1, 3, 4].map(jobId))
        expect(await stores.retention.videoBytes([gpu2])).toBe(2 * video.bytes)
        expect(await stores.retention.videoBytes([gpu1])).toBe(video.bytes)
      })
    })
  })
}
