import { describe, expect, it } from 'vitest'
import {
  type ArchiveOperation,
  type FileFinding,
  UnconfirmedRemovalError,
} from '../../../src/actors/archive/archive-ports.ts'
import type { Task } from '../../../src/actors/archive/archive-protocol.ts'
import { createArchiveWork } from '../../../src/actors/archive/archive-work.ts'
import { mayExpire } from '../../../src/actors/archive/removal-rules.ts'
import type { CommitResult } from '../../../src/actors/queue/queue-ports.ts'
import { covers, type Scope } from '../../../src/domain/client.ts'
import { DiskFullError } from '../../../src/domain/errors.ts'
import type { FileLoss, Job, JobId, JobState, Removal } from '../../../src/domain/job.ts'
import type { VideoFile } from '../../../src/domain/video-file.ts'
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

describe('a removal', () => {
  it('of a job deletes its video and all its other files', async () => {
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
    const { carryOut, deleted } = someWork([finished(1)], { isInUse: () => true })
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
    expect(await carryOut(deletions(1, 2))).toEqual([
      { how: 'failed', error, filename: 'video-1.mp4' },
      { how: 'videoDeleted', filename: 'video-2.mp4' },
    ])
  })

  it('of videos is announced in one commit before the first file is deleted', async () => {
    const { carryOut, happened } = someWork([finished(1), finished(2), canceled(3)])
    await carryOut([...deletions(1), { do: 'expire', jobId: jobId(2) }, remove(3)])
    expect(happened).toEqual([
      'announce video of 1, expire of 2',
      'delete video-1.mp4',
      'delete video-2.mp4',
    ])
  })

  it('deletes nothing when it cannot be announced, but does on a full disk', async () => {
    const error = new Error('I/O error')
    const broken = someWork([finished(1)], { announce: () => Promise.reject(error) })
    expect(await broken.carryOut(deletions(1))).toEqual([{ how: 'failed', error }])
    const locked = someWork([finished(1)], { announce: async () => ({ how: 'locked', error }) })
    expect(await locked.carryOut(deletions(1))).toEqual([{ how: 'failed', error }])
    expect([...broken.deleted, ...locked.deleted]).toEqual([])
    const full = someWork([finished(1)], {
      announce: async () => ({ how: 'full', error: new DiskFullError('the disk is full') }),
    })
    expect(await full.carryOut(deletions(1))).toMatchObject([{ how: 'videoDeleted' }])
  })

  it.each([
    ['own', { how: 'videoDeleted', filename: 'video-1.mp4' }],
    ['changed', { how: 'videoDeleted', filename: 'video-1.mp4' }],
    ['missing', { how: 'videoLost', filename: 'video-1.mp4', loss: 'missing' }],
    ['other', { how: 'videoLost', filename: 'video-1.mp4', loss: 'replaced' }],
  ] as const)('of a video whose file is found to be %s ends as %o', async (finding, outcome) => {
    const { carryOut } = someWork([finished(1)], { finding })
    expect(await carryOut(deletions(1))).toEqual([outcome])
  })

  it('does not delete an expired video whose download began after the announcement', async () => {
    let isInUse = false
    const { carryOut, deleted } = someWork([finished(1)], {
      isInUse: () => isInUse,
      async announce() {
        isInUse = true
        return { how: 'committed' }
      },
    })
    expect(await carryOut([{ do: 'expire', jobId: jobId(1) }])).toEqual([{ how: 'kept' }])
    expect(deleted).toEqual([])
  })
})

describe('a removal without an answer from its machine', () => {
  const cause = new Error('no answer')
  const unanswered = () => Promise.reject(new UnconfirmedRemovalError('no answer', { cause }))

  it('is unconfirmed when the machine does not answer a second question either', async () => {
    const { carryOut, deleted } = someWork([finished(1), finished(2)], {
      remove: unanswered,
      look: () => Promise.reject(cause),
    })
    expect(await carryOut([...deletions(1), remove(2)])).toEqual([
      { how: 'unconfirmed', error: cause, filename: 'video-1.mp4', removal: 'video' },
      { how: 'unconfirmed', error: cause, filename: 'video-2.mp4', removal: 'remove' },
    ])
    expect(deleted).toEqual([])
  })

  it.each([
    [
      'is done when the machine then says that nothing is there',
      'missing',
      { how: 'videoDeleted' },
    ],
    ['has failed when the machine then says that the file is there', 'own', { how: 'failed' }],
  ] as const)('%s', async (_, finding, outcome) => {
    const { carryOut } = someWork([finished(1)], { remove: unanswered, finding })
    expect(await carryOut(deletions(1))).toMatchObject([outcome])
  })

  it('is tried again on request, and a file that is gone by then was deleted', async () => {
    const { carryOut, deleted } = someWork([finished(1, { removing: 'video' })], {
      finding: 'missing',
    })
    const outcome = { how: 'videoDeleted', filename: 'video-1.mp4' }
    expect(await carryOut(deletions(1))).toEqual([outcome])
    expect(deleted).toEqual(['video-1.mp4'])
  })

  it('has deleted the video when only the other files of the job could not be deleted', async () => {
    const error = new Error('permission denied')
    const { carryOut } = someWork([finished(1)], { forget: () => Promise.reject(error) })
    expect(await carryOut([remove(1)])).toEqual([
      { how: 'failed', error, filename: 'video-1.mp4', isVideoDeleted: true },
    ])
  })
})

describe('a removal that a previous run announced', () => {
  const complete = (removal: Removal): Task => ({
    do: 'completeRemoval',
    jobId: jobId(1),
    removal,
  })

  it.each<[removal: Removal, deleted: string[]]>([
    ['video', []],
    ['remove', [jobId(1)]],
    ['expire', [jobId(1)]],
  ])('of kind %s is completed when the file is gone', async (removal, expected) => {
    const { carryOut, deleted } = someWork([finished(1, { removing: removal })], {
      finding: 'missing',
    })
    expect(await carryOut([complete(removal)])).toEqual([{ how: 'done' }])
    expect(deleted).toEqual(expected)
  })

  it.each(['own', 'changed', 'other'] as const)(
    'is taken back when a file is there: %s',
    async (finding) => {
      const { carryOut, deleted } = someWork([finished(1, { removing: 'remove' })], { finding })
      expect(await carryOut([complete('remove')])).toEqual([{ how: 'kept' }])
      expect(deleted).toEqual([])
    },
  )

  it('leaves the record of a job that may not expire any more', async () => {
    const { carryOut } = someWork(
      [{ ...finished(1, { removing: 'expire' }), pinnedAt: midnight }],
      {
        finding: 'missing',
      },
    )
    expect(await carryOut([complete('expire')])).toEqual([
      { how: 'videoDeleted', filename: 'video-1.mp4' },
    ])
  })

  it('is skipped when it has been completed meanwhile', async () => {
    const { carryOut } = someWork([finished(1, { fileDeletedAt: midnight })])
    expect(await carryOut([complete('video')])).toEqual([{ how: 'skipped' }])
  })
})

describe('a file that is compared with its record', () => {
  const lost = (fileLost: FileLoss) => finished(1, { fileDeletedAt: midnight, fileLost })

  it.each<[what: string, job: Job, finding: FileFinding, outcome: object]>([
    ['is there', finished(1), 'own', { how: 'skipped' }],
    ['is gone', finished(1), 'missing', { how: 'videoLost', loss: 'missing' }],
    ['has another content', finished(1), 'changed', { how: 'videoLost', loss: 'replaced' }],
    ['is of another origin', finished(1), 'other', { how: 'videoLost', loss: 'replaced' }],
    ['is there again', lost('missing'), 'own', { how: 'videoFound' }],
    ['is gone as recorded', lost('missing'), 'missing', { how: 'skipped' }],
    ['was gone and is of another origin', lost('missing'), 'other', { loss: 'replaced' }],
    ['was deleted', finished(1, { fileDeletedAt: midnight }), 'other', { how: 'skipped' }],
    ['is being deleted', finished(1, { removing: 'video' }), 'missing', { how: 'skipped' }],
    ['belongs to a job that runs', aRunningJob(1), 'missing', { how: 'skipped' }],
  ])('and %s', async (_what, job, finding, outcome) => {
    const { carryOut } = someWork([job], { finding })
    expect(await carryOut([{ do: 'compare', jobId: jobId(1) }])).toMatchObject([outcome])
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
    const former = work.carryOut(deletions(1, 2), midnight, life.signal)
    await expect.poll(() => begun).toEqual(['video-1.mp4'])
    life.abort()
    const next = work.carryOut(deletions(3), midnight, new AbortController().signal)
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

const canceled = (n: number): Job => ({
  ...aQueuedJob(n),
  state: { status: 'canceled', endedAt: midnight },
})

/** With these jobs in the store; `deleted` are files, and jobs of which all else is deleted. */
function someWork(
  jobs: readonly Job[],
  {
    isInUse = () => false,
    finding = 'own',
    remove = () => {},
    look = async () => finding,
    forget = async () => {},
    announce = async () => ({ how: 'committed' }),
  }: {
    isInUse?(): boolean
    finding?: FileFinding
    remove?(video: VideoFile): void | Promise<void>
    look?(): Promise<FileFinding>
    forget?(): Promise<void>
    announce?(): Promise<CommitResult>
  } = {},
) {
  const deleted: string[] = []
  const happened: string[] = []
  const work = createArchiveWork({
    store: {
      async commit(operations: readonly ArchiveOperation[]) {
        const announced = operations.flatMap((one) =>
          one.op === 'announceRemoval' ? [`${one.removal} of ${Number(one.jobId.slice(-12))}`] : [],
        )
        if (announced.length > 0) happened.push(`announce ${announced.join(', ')}`)
        return announce()
      },
      find: async (id: JobId, scope: Scope) =>
        jobs.find((job) => job.id === id && covers(scope, { jobId: id, owner: job.owner })),
      findExpired: async () => undefined,
      isAwaited: async () => false,
      announcedRemovals: async () => [],
      recordedFiles: async () => [],
    },
    videoFiles: {
      isInUse,
      find: look,
      arePresent: async (files) => files.map(() => true),
      async remove(video) {
        await remove(video)
        deleted.push(video.filename)
        happened.push(`delete ${video.filename}`)
        return finding
      },
    },
    jobFiles: {
      async forget(id) {
        await forget()
        deleted.push(id)
      },
    },
  })
  const carryOut = (tasks: readonly Task[]) =>
    work.carryOut(tasks, midnight, new AbortController().signal)
  return { work, carryOut, deleted, happened }
}
