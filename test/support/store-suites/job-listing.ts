/** Contract of a store of jobs: lists, scopes and lookups. */
import { beforeEach, describe, expect, it } from 'vitest'
import type { Scope } from '../../../src/domain/client.ts'
import type { Job, JobId } from '../../../src/domain/job.ts'
import { aRequest, gpu1, jobId } from '../jobs.ts'
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
  submit,
} from './operations.ts'
import { commit, type StoresOfTest } from './stores.ts'

export function describeListing(stores: StoresOfTest): void {
  describe('a list of jobs', () => {
    beforeEach(() =>
      commit(stores, [
        ...made(1),
        ...[submit(2), finish(2, canceled, 0), submit(3), claim(3), submit(4), submit(5)],
        ...[finish(5, error, 0), ...made(6, { gpu: gpu1 }), forgetVideo(6)],
      ]),
    )

    it.each<[filter: Partial<Parameters<typeof stores.jobs.list>[0]>, numbers: number[]]>([
      [{}, [1, 2, 3, 4, 5, 6]],
      [{ order: 'desc' }, [6, 5, 4, 3, 2, 1]],
      [{ status: ['queued'] }, [4]],
      [{ prompt: aRequest().prompt }, [1, 2, 3, 4, 5, 6]],
      [{ prompt: 'nothing of the kind' }, []],
      [{ submittedAfter: minute(0) }, []],
      [{ submittedAfter: minute(0) - 1, submittedBefore: minute(0) + 1 }, [1, 2, 3, 4, 5, 6]],
      [{ submittedBefore: minute(0) }, []],
      [{ status: ['running', 'error'], order: 'desc' }, [5, 3]],
      [{ status: ['success'] }, [1, 6]],
      [{ status: [] }, []],
      [{ withVideo: true }, [1]],
      [{ withVideo: true, status: ['queued'] }, []],
      [{ after: jobId(3) }, [4, 5, 6]],
      [{ after: jobId(3), order: 'desc' }, [2, 1]],
      [{ after: jobId(6) }, []],
      [{ after: jobId(99) }, []],
      [{ after: jobId(2), status: ['success'] }, [6]],
    ])('by %o holds %o', async (filter, numbers) => {
      const page = await stores.jobs.list({ order: 'asc', limit: 100, ...filter }, 'everything')
      expect(numbersOf(page.jobs)).toEqual(numbers)
      expect(page.hasMore).toBe(false)
    })

    it.each(['asc', 'desc'] as const)('is read page by page, %s', async (order) => {
      const seen: number[][] = []
      let after: JobId | undefined
      for (let hasMore = true; hasMore; ) {
        const page = await stores.jobs.list(
          { order, limit: 4, ...(after && { after }) },
          'everything',
        )
        seen.push(numbersOf(page.jobs))
        after = page.jobs.at(-1)?.id
        hasMore = page.hasMore
      }
      expect(seen).toEqual(
        order === 'asc'
          ? [
              [1, 2, 3, 4],
              [5, 6],
            ]
          : [
              [6, 5, 4, 3],
              [2, 1],
            ],
      )
    })

    it('says that there is no more when the page is just full', async () => {
      expect(await stores.jobs.list({ order: 'asc', limit: 6 }, 'everything')).toMatchObject({
        hasMore: false,
      })
      expect(await stores.jobs.list({ order: 'asc', limit: 5 }, 'everything')).toMatchObject({
        hasMore: true,
      })
    })
  })

  describe('what lies outside a scope', () => {
    const ada = { owner: 'ada' }
    beforeEach(() =>
      commit(stores, [
        ...[submit(1, {}, 'ada'), claim(1), began(1), generated(1), finish(1)],
        ...[submit(2, {}, 'bob'), claim(2), began(2), generated(2), finish(2)],
        ...[submit(3), claim(3), began(3), generated(3), finish(3)],
      ]),
    )

    it.each<[asked: string, ask: (scope: Scope) => Promise<readonly Job[]>]>([
      [
        'find',
        async (scope) =>
          all(await Promise.all([1, 2, 3].map((n) => stores.jobs.find(jobId(n), scope)))),
      ],
      ['findMany', (scope) => stores.jobs.findMany([1, 2, 3].map(jobId), scope)],
      ['list', async (scope) => (await stores.jobs.list({ order: 'asc', limit: 9 }, scope)).jobs],
      [
        'lookup',
        (scope) =>
          stores.jobs.lookup(aRequest().prompt, 9, scope).then((jobs) => jobs.toReversed()),
      ],
      ['videos by id', (scope) => stores.jobs.videos({ ids: [1, 2, 3].map(jobId) }, scope)],
      ['videos by name', (scope) => stores.jobs.videos({ filenames: names }, scope)],
      ['videos by status', (scope) => stores.jobs.videos({ status: ['success'] }, scope)],
    ])('is not there for %s', async (_, ask) => {
      expect(numbersOf(await ask(ada))).toEqual([1])
      expect(numbersOf(await ask({ jobId: jobId(3) }))).toEqual([3])
      expect(numbersOf(await ask({ owner: 'null' }))).toEqual([])
      expect(numbersOf(await ask('everything'))).toEqual([1, 2, 3])
    })

    it('is no place that a page can begin behind', async () => {
      const behind = (after: JobId) => stores.jobs.list({ order: 'desc', limit: 9, after }, ada)
      expect(await behind(jobId(2))).toEqual(await behind(jobId(99)))
    })

    const names = ['video-1.mp4', 'video-2.mp4', 'video-3.mp4']
    const all = (jobs: readonly (Job | undefined)[]) => jobs.filter((job) => job !== undefined)
  })

  describe('a lookup', () => {
    it('finds the jobs of exactly this prompt, latest first', async () => {
      const prompts = ['a fox', 'A fox', 'a fox ', 'a fox', 'a fo', 'a fox']
      await commit(
        stores,
        prompts.map((prompt, index) => submit(index + 1, { prompt })),
      )
      expect(numbersOf(await stores.jobs.lookup('a fox', 10, 'everything'))).toEqual([6, 4, 1])
      expect(numbersOf(await stores.jobs.lookup('a fox', 1, 'everything'))).toEqual([6])
      expect(numbersOf(await stores.jobs.lookup('a fox ', 10, 'everything'))).toEqual([3])
      expect(await stores.jobs.lookup('a f%', 10, 'everything')).toEqual([])
    })
  })

  describe('the videos', () => {
    beforeEach(() =>
      commit(stores, [
        ...made(1, { filename: 'a.mp4' }),
        ...made(2, { filename: 'b.mp4' }),
        ...[...made(3, { filename: 'c.mp4' }), forgetVideo(3)],
        ...[submit(4, { filename: 'd.mp4' }), submit(5), claim(5, 1, { filename: 'e.mp4' })],
      ]),
    )

    it.each<[selection: Parameters<typeof stores.jobs.videos>[0], numbers: number[]]>([
      [{ ids: [jobId(2), jobId(1), jobId(3), jobId(4), jobId(99)] }, [1, 2]],
      [{ ids: [] }, []],
      [{ filenames: ['b.mp4', 'c.mp4', 'd.mp4', 'e.mp4'] }, [2]],
      [{ filenames: ['A.MP4'] }, [1]],
      [{ filenames: [] }, []],
      [{ status: ['success'] }, [1, 2]],
      [{ status: ['queued', 'running', 'error'] }, []],
    ])('of %o are those of %o, for only their files are there', async (selection, numbers) => {
      expect(numbersOf(await stores.jobs.videos(selection, 'everything'))).toEqual(numbers)
    })
  })
}
