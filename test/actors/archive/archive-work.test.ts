import { describe, expect, it } from 'vitest'
import type { ArchiveOperation } from '../../../src/actors/archive/archive-ports.ts'
import type { DeletedVideo, Task } from '../../../src/actors/archive/archive-protocol.ts'
import { createArchiveWork } from '../../../src/actors/archive/archive-work.ts'
import { mayExpire } from '../../../src/actors/archive/removal-rules.ts'
import { covers, type Scope } from '../../../src/domain/client.ts'
import type { Job, JobId, JobState } from '../../../src/domain/job.ts'
import { aQueuedJob, aRunningJob, aVideo, gpu0, jobId, midnight } from '../../support/jobs.ts'

describe('a job that may expire', () => {
  const over = { ...aQueuedJob(1), state: { status: 'canceled', endedAt: midnight } } as const

  it.each([
    ['stays while it waits', aQueuedJob(1), false, false],
    ['stays while it runs', aRunningJob(1), false, false],
    ['stays while it is pinned', { ...over, pinnedAt: midnight }, false, false],
    ['stays while a webhook delivery is pending', over, true, false],
    ['expires otherwise', over, false, true],
  ])('%s', (_, job, isAwaited, goes) => {
    expect(mayExpire(job, isAwaited)).toBe(goes)
  })
})

describe('the removal of a job', () => {
  it('deletes its video and all its other files', async () => {
    const { carryOut, deleted } = someWork([finished(1)])
    expect(await carryOut([remove(1)])).toEqual([{ how: 'done' }])
    expect(deleted).toEqual(['video-1.mp4', jobId(1)])
  })

  it('does not touch the file of a video that is deleted already', async () => {
    const { carryOut, deleted } = someWork([finished(1, { fileDeletedAt: midnight })])
    expect(await carryOut([remove(1), { do: 'deleteVideo', jobId: jobId(1) }])).toEqual([
      { how: 'done' },
      { how: 'skipped' },
    ])
    expect(deleted).toEqual([jobId(1)])
  })

  it.each([
    ['everything', 'job_stopping'],
    [{ owner: 'fox' }, 'job_not_found'],
  ] as const)('is refused while the job waits or runs, in scope %o', async (scope, code) => {
    const { carryOut, deleted } = someWork([aQueuedJob(1), aRunningJob(2)])
    const refused = { how: 'refused', refusal: { code } }
    expect(await carryOut([remove(1, scope), remove(2, scope)])).toMatchObject([refused, refused])
    expect(deleted).toEqual([])
  })

  it('does not delete an expired video during a download', async () => {
    const { carryOut, deleted } = someWork([finished(1)], { isInUse: true })
    expect(await carryOut([{ do: 'expire', jobId: jobId(1) }])).toEqual([{ how: 'skipped' }])
    expect(deleted).toEqual([])
  })

  it('continues with other jobs when one file cannot be deleted', async () => {
    const error = new Error('permission denied')
    const { carryOut } = someWork([finished(1), finished(2)], {
      remove({ filename }) {
        if (filename === 'video-1.mp4') throw error
      },
    })
    const tasks = [1, 2].map((n) => ({ do: 'deleteVideo', jobId: jobId(n) }) as const)
    expect(await carryOut(tasks)).toEqual([
      { how: 'failed', error },
      { how: 'videoDeleted', filename: 'video-2.mp4' },
    ])
  })
})

describe('the work of an incarnation that has ended', () => {
  it('stops before its next file, and the next incarnation waits for that', async () => {
    const held = Promise.withResolvers<void>()
    const begun: string[] = []
    const { work } = someWork([finished(1), finished(2), finished(3)], {
      async remove({ filename }) {
        begun.push(filename)
        if (filename === 'video-1.mp4') await held.promise
      },
    })
    const life = new AbortController()
    const former = work.carryOut(deletions(1, 2), life.signal)
    await expect.poll(() => begun).toEqual(['video-1.mp4'])
    life.abort()
    const next = work.carryOut(deletions(3), new AbortController().signal)
    const committed = work.commit([])
    await new Promise(setImmediate)
    expect(begun).toEqual(['video-1.mp4'])
    held.resolve()
    expect(await former).toMatchObject([{ how: 'videoDeleted' }, { how: 'failed' }])
    expect(await next).toMatchObject([{ how: 'videoDeleted' }])
    expect(await committed).toEqual({ how: 'committed' })
    expect(begun).toEqual(['video-1.mp4', 'video-3.mp4'])
  })
})

const remove = (n: number, scope: Scope = 'everything'): Task => ({
  do: 'remove',
  jobId: jobId(n),
  scope,
})

const deletions = (...numbers: number[]): Task[] =>
  numbers.map((n) => ({ do: 'deleteVideo', jobId: jobId(n) }))

const finished = (
  n: number,
  known: Partial<Extract<JobState, { status: 'success' }>> = {},
): Job => ({
  ...aQueuedJob(n),
  state: {
    status: 'success',
    gpu: gpu0,
    filename: `video-${n}.mp4`,
    startedAt: midnight,
    endedAt: midnight,
    video: aVideo(),
    ...known,
  },
})

/** With these jobs in the store; `deleted` are files, and jobs of which all else is deleted. */
function someWork(
  jobs: readonly Job[],
  {
    isInUse = false,
    remove = () => {},
  }: { isInUse?: boolean; remove?(video: DeletedVideo): void | Promise<void> } = {},
) {
  const deleted: string[] = []
  const work = createArchiveWork({
    store: {
      commit: async (_: readonly ArchiveOperation[]) => ({ how: 'committed' }) as const,
      find: async (id: JobId, scope: Scope) =>
        jobs.find((job) => job.id === id && covers(scope, { jobId: id, owner: job.owner })),
      findExpired: async () => undefined,
      isAwaited: async () => false,
    },
    videoFiles: {
      isInUse: () => isInUse,
      async remove(video) {
        await remove(video)
        deleted.push(video.filename)
      },
    },
    jobFiles: { forget: async (id) => void deleted.push(id) },
  })
  const carryOut = (tasks: readonly Task[]) => work.carryOut(tasks, new AbortController().signal)
  return { work, carryOut, deleted }
}
