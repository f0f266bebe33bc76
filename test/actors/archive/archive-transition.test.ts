import { describe, expect, it } from 'vitest'
import { answer, createPlace } from '../../../src/actors/actor.ts'
import type { ArchiveEffect } from '../../../src/actors/archive/archive-effects.ts'
import type { ArchiveOperation } from '../../../src/actors/archive/archive-ports.ts'
import type {
  ArchiveMail,
  DeletionAnswer,
  ExpireAnswer,
  PinAnswer,
  RemoveAnswer,
  Task,
  TaskOutcome,
} from '../../../src/actors/archive/archive-protocol.ts'
import { newArchive } from '../../../src/actors/archive/archive-state.ts'
import { transition } from '../../../src/actors/archive/archive-transition.ts'
import type { JobView } from '../../../src/actors/queue/queue-protocol.ts'
import { restoreQueue } from '../../../src/actors/queue/queue-restore.ts'
import { DiskFullError, jobNotFound, RefusalError } from '../../../src/domain/errors.ts'
import type { Expired, Removal } from '../../../src/domain/job.ts'
import type { NodeName } from '../../../src/domain/node.ts'
import { jobId, midnight, queueSettings } from '../../support/jobs.ts'

const deleter = createPlace<DeletionAnswer>('deleter')
const remover = createPlace<RemoveAnswer>('remover')
const pinner = createPlace<PinAnswer>('pinner')
const janitor = createPlace<ExpireAnswer>('janitor')
const scope = 'everything'
const done: TaskOutcome = { how: 'done' }
const full = new DiskFullError('the disk is full')

describe('a deletion of videos', () => {
  it('deletes files first, then changes the records, then answers', () => {
    const archive = anArchive()
    const command = {
      type: 'deleteVideos',
      selection: { filenames: ['fox.mp4'] },
      scope: { owner: 'ada' },
      requestId: 'r1',
      replyTo: deleter,
    } as const
    expect(archive.tell(command)).toEqual([{ do: 'selectVideos', command }])
    expect(archive.tell({ type: 'videosSelected', command, jobIds: [jobId(1)] })).toEqual([
      { do: 'work', tasks: [{ do: 'deleteVideo', jobId: jobId(1) }] },
    ])
    const outcomes = [{ how: 'videoDeleted', filename: 'fox.mp4' } as const]
    expect(archive.tell({ type: 'worked', outcomes })).toEqual([
      { do: 'commit', operations: [{ op: 'forgetVideo', jobId: jobId(1), at: midnight }] },
    ])
    expect(archive.commits()).toEqual([
      { do: 'tellChanges', changes: new Map([[jobId(1), 'status']]) },
      { do: 'logChange', jobId: jobId(1), change: 'video deleted', requestId: 'r1' },
      answer(deleter, {
        deleted: [{ jobId: jobId(1), filename: 'fox.mp4' }],
        kept: [],
        unconfirmed: [],
      }),
    ])
  })

  it('skips videos that were deleted meanwhile', () => {
    const archive = anArchive()
    archive.deletes(1, 2)
    const effects = archive.works([
      { how: 'skipped' },
      { how: 'videoDeleted', filename: 'owl.mp4' },
    ])
    expect(effects).toEqual([
      { do: 'commit', operations: [{ op: 'forgetVideo', jobId: jobId(2), at: midnight }] },
    ])
    expect(archive.commits()).toContainEqual(
      answer(deleter, {
        deleted: [{ jobId: jobId(2), filename: 'owl.mp4' }],
        kept: [],
        unconfirmed: [],
      }),
    )
  })

  it('takes 20 jobs per step, and other requests take their turn in between', () => {
    const archive = anArchive()
    expect(workIn(archive.deletes(...range(1, 45)))).toEqual(range(1, 20))
    expect(archive.tell({ type: 'remove', jobId: jobId(99), scope, replyTo: remover })).toEqual([])
    archive.works(range(1, 20).map(() => ({ how: 'videoDeleted', filename: 'x.mp4' })))
    expect(workIn(archive.commits())).toEqual([99, ...range(21, 39)])
    archive.works([done, ...range(21, 39).map(() => ({ how: 'skipped' }) as const)])
    const effects = archive.commits()
    expect(effects).toContainEqual(answer(remover, 'removed'))
    expect(workIn(effects)).toEqual(range(40, 45))
  })

  it('never takes a job twice in one step', () => {
    const archive = anArchive()
    archive.tell({ type: 'pin', jobId: jobId(9), pinned: true, scope, replyTo: pinner })
    archive.tell({ type: 'remove', jobId: jobId(2), scope, replyTo: remover })
    archive.deletes(1, 2, 3)
    archive.works([{ how: 'skipped' }])
    expect(archive.workNow()).toEqual([2, 1])
    archive.works([done, { how: 'skipped' }])
    expect(workIn(archive.commits())).toEqual([2, 3])
  })

  it('continues after a file that cannot be deleted, and answers why it was kept', () => {
    const archive = anArchive()
    archive.deletes(...range(1, 30))
    const error = Object.assign(new Error('EACCES: /secret/path'), { code: 'EACCES' })
    const outcomes = range(1, 20).map(
      (n): TaskOutcome =>
        n === 2
          ? { how: 'failed', error, filename: '2.mp4' }
          : { how: 'videoDeleted', filename: `${n}.mp4` },
    )
    const [commit] = archive.works(outcomes)
    expect(commit).toMatchObject({ do: 'commit', operations: { length: 20 } })
    expect(operationsIn(commit)).toContainEqual({ op: 'keepVideo', jobId: jobId(2), at: midnight })
    const effects = archive.commits()
    expect(effects).toContainEqual({ do: 'logKept', count: 1, error })
    expect(workIn(effects)).toEqual(range(21, 30))
    archive.works(range(21, 30).map((n) => ({ how: 'videoDeleted', filename: `${n}.mp4` })))
    const answers = answersIn<DeletionAnswer>(archive.commits())
    expect(answers).toMatchObject([{ deleted: { length: 29 }, kept: { length: 1 } }])
    const why = expect.stringMatching(/^The file could not be deleted \(EACCES\)/)
    expect(answers[0]?.kept).toEqual([{ jobId: jobId(2), filename: '2.mp4', why }])
  })

  it('ends with an error when the store fails, which it would do for the rest as well', () => {
    const archive = anArchive()
    archive.deletes(...range(1, 30))
    const error = new Error('locked')
    const effects = archive.works(range(1, 20).map(() => ({ how: 'failed', error }) as const))
    expect(effects).toMatchObject([{ do: 'answerFailed', to: deleter, cause: error }])
  })

  it('keeps a file of another origin, says so, and records that the video is lost', () => {
    const archive = anArchive()
    archive.deletes(1, 2)
    const [commit] = archive.works([
      { how: 'videoLost', filename: 'fox.mp4', loss: 'replaced' },
      { how: 'videoLost', filename: 'owl.mp4', loss: 'missing' },
    ])
    expect(operationsIn(commit)).toEqual([
      { op: 'loseVideo', jobId: jobId(1), loss: 'replaced', at: midnight },
      { op: 'loseVideo', jobId: jobId(2), loss: 'missing', at: midnight },
    ])
    expect(answersIn<DeletionAnswer>(archive.commits())).toEqual([
      {
        deleted: [],
        kept: [{ jobId: jobId(1), filename: 'fox.mp4', why: expect.stringContaining('Another') }],
        unconfirmed: [],
      },
    ])
  })
})

describe('a removal that its machine does not confirm', () => {
  const error = new Error('no answer')
  const unconfirmed = (n: number, removal: Removal): TaskOutcome => ({
    ...{ how: 'unconfirmed', error, removal },
    filename: `${n}.mp4`,
  })

  it('stays announced, and the answer says neither that the file is deleted nor that it is kept', () => {
    const archive = anArchive()
    archive.deletes(1, 2)
    const [commit] = archive.works([
      unconfirmed(1, 'video'),
      { how: 'videoDeleted', filename: '2.mp4' },
    ])
    expect(operationsIn(commit)).toEqual([
      { op: 'announceRemoval', jobId: jobId(1), removal: 'video', at: midnight },
      { op: 'forgetVideo', jobId: jobId(2), at: midnight },
    ])
    const effects = archive.commits()
    expect(answersIn<DeletionAnswer>(effects)).toEqual([
      {
        deleted: [{ jobId: jobId(2), filename: '2.mp4' }],
        kept: [],
        unconfirmed: [{ jobId: jobId(1), filename: '1.mp4' }],
      },
    ])
    expect(effects).toContainEqual({ do: 'logUnconfirmed', count: 1, error })
  })

  it('of a job is refused, and of an expired job has not happened', () => {
    const archive = anArchive()
    archive.tell({ type: 'remove', jobId: jobId(1), scope, replyTo: remover })
    archive.tell({ type: 'expire', jobIds: [jobId(2)], replyTo: janitor })
    archive.works([unconfirmed(1, 'remove')])
    const [refusal] = answersIn<RemoveAnswer>(archive.commits())
    expect(refusal).toMatchObject({ code: 'node_away', message: expect.stringContaining('Nobody') })
    archive.works([unconfirmed(2, 'expire')])
    expect(answersIn<ExpireAnswer>(archive.commits())).toEqual([{ gone: [], error }])
  })

  it('is completed later, again and again until the machine has answered', () => {
    const archive = anArchive()
    archive.deletes(1)
    archive.works([unconfirmed(1, 'video')])
    expect(archive.commits()).toContainEqual({ do: 'completeLater' })
    archive.deletes(2)
    archive.works([unconfirmed(2, 'video')])
    expect(archive.commits()).not.toContainEqual({ do: 'completeLater' })
    const removals = [1, 2].map((n) => ({ jobId: jobId(n), removal: 'video' }) as const)
    for (const _ of ['once', 'again']) {
      expect(archive.tell({ type: 'completionDue' })).toEqual([{ do: 'readRemovals' }])
      archive.tell({ type: 'removalsRead', removals })
      expect(archive.works([{ how: 'failed', error }, done])).toHaveLength(1)
      expect(archive.commits()).toContainEqual({ do: 'completeLater' })
    }
    archive.tell({ type: 'completionDue' })
    archive.tell({ type: 'removalsRead', removals })
    const [commit] = archive.works([{ how: 'kept' }, done])
    expect(operationsIn(commit)).toEqual([
      { op: 'keepVideo', jobId: jobId(1), at: midnight },
      { op: 'forgetVideo', jobId: jobId(2), at: midnight },
    ])
    expect(archive.commits()).not.toContainEqual({ do: 'completeLater' })
  })

  it('waits for a machine that is away until that joins', () => {
    const archive = anArchive()
    archive.tell({
      ...{ type: 'removalsRead' },
      removals: [{ jobId: jobId(1), removal: 'video' }],
    })
    const away = new RefusalError('node_away', 'off')
    expect(archive.works([{ how: 'failed', error: away }])).toEqual([])
  })

  it('is stored as announced when the disk has room again', () => {
    const archive = anArchive()
    archive.deletes(1)
    archive.works([unconfirmed(1, 'video')])
    archive.tell({ type: 'written', result: { how: 'full', error: full } })
    expect(archive.tell({ type: 'retryDue' })).toMatchObject([
      { do: 'commit', operations: [{ op: 'announceRemoval', jobId: jobId(1) }] },
    ])
  })
})

describe('the removal of a job', () => {
  it('is refused with the reason when its machine is away', () => {
    const archive = anArchive()
    archive.tell({ type: 'remove', jobId: jobId(1), scope, replyTo: remover })
    const error = new RefusalError('node_away', 'off')
    archive.works([{ how: 'failed', error, filename: 'fox.mp4' }])
    expect(answersIn<RemoveAnswer>(archive.commits())).toEqual([error])
  })

  it('that fails behind the video records that the video is deleted', () => {
    const archive = anArchive()
    archive.tell({ type: 'remove', jobId: jobId(1), scope, replyTo: remover })
    const error = new Error('permission denied')
    const outcome = { how: 'failed', error, filename: 'fox.mp4', isVideoDeleted: true } as const
    const [commit] = archive.works([outcome])
    expect(operationsIn(commit)).toEqual([{ op: 'forgetVideo', jobId: jobId(1), at: midnight }])
    expect(archive.commits()).toContainEqual(expect.objectContaining({ do: 'answerFailed' }))
  })

  it('forgets the job once its files are deleted', () => {
    const archive = anArchive()
    expect(archive.tell({ type: 'remove', jobId: jobId(1), scope, replyTo: remover })).toEqual([
      { do: 'work', tasks: [{ do: 'remove', jobId: jobId(1), scope }] },
    ])
    expect(archive.works([done])).toEqual([
      { do: 'commit', operations: [{ op: 'remove', jobId: jobId(1), at: midnight }] },
    ])
    expect(archive.commits().slice(1)).toEqual([
      { do: 'logChange', jobId: jobId(1), change: 'deleted' },
      answer(remover, 'removed'),
    ])
  })

  it('is refused without a commit when there is no such job', () => {
    const archive = anArchive()
    archive.tell({ type: 'remove', jobId: jobId(1), scope, replyTo: remover })
    const refusal = jobNotFound(jobId(1))
    expect(archive.works([{ how: 'refused', refusal }])).toEqual([answer(remover, refusal)])
  })
})

describe('an expiry', () => {
  it('answers with the deleted jobs and the error', () => {
    const archive = anArchive()
    const error = new Error('permission denied')
    archive.tell({ type: 'expire', jobIds: range(1, 3).map(jobId), replyTo: janitor })
    archive.works([done, { how: 'skipped' }, { how: 'failed', error }])
    expect(archive.commits()).toContainEqual(answer(janitor, { gone: [jobId(1)], error }))
  })

  it('delays a pin of the same job until it is done', () => {
    const archive = anArchive()
    archive.tell({ type: 'expire', jobIds: [jobId(1)], replyTo: janitor })
    expect(
      archive.tell({ type: 'pin', jobId: jobId(1), pinned: true, scope, replyTo: pinner }),
    ).toEqual([])
    archive.works([done])
    expect(archive.commits().at(-1)).toEqual({
      do: 'work',
      tasks: [{ do: 'pin', jobId: jobId(1), pinned: true, scope }],
    })
  })
})

describe('a pin', () => {
  it('is stored, then answered with the current job', () => {
    const archive = anArchive()
    archive.tell({ type: 'pin', jobId: jobId(1), pinned: true, scope, replyTo: pinner })
    expect(archive.works([done])).toEqual([
      { do: 'commit', operations: [{ op: 'pin', jobId: jobId(1), pinned: true, at: midnight }] },
    ])
    expect(archive.commits().slice(1)).toMatchObject([
      { do: 'logChange', jobId: jobId(1), change: 'pinned' },
      { do: 'answerPinned', jobId: jobId(1), replyTo: pinner, queue: archive.queue },
    ])
  })
})

describe('an archive that has just started', () => {
  it('keeps messages until the queue has sent its state', () => {
    const archive = anArchive({ isNew: true })
    const asker = createPlace<JobView | Expired | undefined>('asker')
    const question = { type: 'find', jobId: jobId(1), scope, replyTo: asker } as const
    expect(archive.tell(question)).toEqual([])
    expect(archive.tell({ type: 'remove', jobId: jobId(1), scope, replyTo: remover })).toEqual([])
    const { queue } = archive
    expect(archive.tell({ type: 'queueChanged', queue })).toEqual([{ do: 'read', question, queue }])
    expect(archive.tell({ type: 'removalsRead', removals: [] })).toEqual([
      { do: 'work', tasks: [{ do: 'remove', jobId: jobId(1), scope }] },
      { do: 'survey', afterSeq: 0 },
    ])
  })

  it('first completes the removals that were announced before', () => {
    const archive = anArchive({ isNew: true })
    archive.tell({ type: 'pin', jobId: jobId(1), pinned: true, scope, replyTo: pinner })
    archive.tell({ type: 'queueChanged', queue: archive.queue })
    const removals = (['video', 'remove', 'expire', 'video'] as const).map((removal, index) => ({
      jobId: jobId(index + 1),
      removal,
    }))
    const [work] = archive.tell({ type: 'removalsRead', removals })
    const tasks = removals.map((announced) => ({ do: 'completeRemoval', ...announced }))
    expect(work).toEqual({ do: 'work', tasks })
    const [commit] = archive.works([done, done, done, { how: 'kept' }])
    expect(operationsIn(commit)).toEqual([
      { op: 'forgetVideo', jobId: jobId(1), at: midnight },
      { op: 'remove', jobId: jobId(2), at: midnight },
      { op: 'expire', jobId: jobId(3), at: midnight },
      { op: 'keepVideo', jobId: jobId(4), at: midnight },
    ])
    expect(workIn(archive.commits())).toEqual([1])
  })

  it('completes removals and looks at all files again when a machine is there again', () => {
    const starting = anArchive({ isNew: true })
    expect(starting.tell({ type: 'lookAtFiles' })).toEqual([])
    const archive = anArchive()
    expect(archive.tell({ type: 'lookAtFiles' })).toEqual([
      { do: 'readRemovals' },
      { do: 'survey', afterSeq: 0 },
    ])
    const removals = [{ jobId: jobId(1), removal: 'video' } as const]
    expect(archive.tell({ type: 'removalsRead', removals })).toEqual([
      { do: 'work', tasks: [{ do: 'completeRemoval', ...removals[0] }] },
    ])
  })

  it('compares suspect files with their records, a page after the other', () => {
    const archive = anArchive()
    expect(archive.tell({ type: 'surveyed', suspects: [], next: 200 })).toEqual([
      { do: 'survey', afterSeq: 200 },
    ])
    expect(archive.tell({ type: 'surveyed', suspects: [jobId(7), jobId(8)] })).toEqual([
      { do: 'work', tasks: [7, 8].map((n) => ({ do: 'compare', jobId: jobId(n) })) },
    ])
    const [commit] = archive.works([
      { how: 'videoLost', filename: 'fox.mp4', loss: 'missing' },
      { how: 'videoFound' },
    ])
    expect(operationsIn(commit)).toEqual([
      { op: 'loseVideo', jobId: jobId(7), loss: 'missing', at: midnight },
      { op: 'findVideo', jobId: jobId(8), at: midnight },
    ])
    expect(archive.commits()).toMatchObject([
      { do: 'tellChanges' },
      { do: 'logChange', jobId: jobId(8), change: 'video found' },
      { do: 'logLost', lost: [{ jobId: jobId(7), loss: 'missing' }] },
    ])
  })
})

describe('a full disk', () => {
  it('retries changes whose files are deleted, and refuses other requests', () => {
    const archive = anArchive()
    archive.deletes(...range(1, 30))
    archive.tell({ type: 'pin', jobId: jobId(99), pinned: true, scope, replyTo: pinner })
    archive.works(range(1, 20).map((n) => ({ how: 'videoDeleted', filename: `${n}.mp4` })))
    expect(archive.tell({ type: 'written', result: { how: 'full', error: full } })).toMatchObject([
      { do: 'logBlocked' },
      { do: 'answerFailed', to: pinner, cause: full },
      { do: 'retryLater' },
    ])
    expect(
      archive.tell({ type: 'remove', jobId: jobId(1), scope, replyTo: remover }),
    ).toMatchObject([{ do: 'answerFailed', to: remover, cause: full }])
    expect(archive.tell({ type: 'retryDue' })).toMatchObject([
      { do: 'commit', operations: { length: 20 } },
    ])
    expect(workIn(archive.commits())).toEqual(range(21, 30))
  })

  it('refuses a pin at once', () => {
    const archive = anArchive()
    archive.tell({ type: 'pin', jobId: jobId(1), pinned: true, scope, replyTo: pinner })
    archive.works([done])
    expect(archive.tell({ type: 'written', result: { how: 'full', error: full } })).toMatchObject([
      { do: 'logBlocked' },
      { do: 'answerFailed', to: pinner, cause: full },
    ])
    expect(workIn(archive.deletes(1))).toEqual([1])
  })
})

describe('a stale change', () => {
  it('is refused and logged; what was announced is read again, and the next request takes its turn', () => {
    const archive = anArchive()
    archive.tell({ type: 'remove', jobId: jobId(1), scope, replyTo: remover })
    archive.deletes(2)
    archive.works([done])
    const stale = { how: 'stale', why: 'too late' } as const
    expect(archive.tell({ type: 'written', result: stale })).toMatchObject([
      { do: 'logStale', why: 'too late' },
      { do: 'answerFailed', to: remover },
      { do: 'readRemovals' },
      { do: 'work', tasks: [{ do: 'deleteVideo', jobId: jobId(2) }] },
    ])
  })
})

const range = (from: number, to: number): number[] =>
  Array.from({ length: to - from + 1 }, (_, index) => from + index)

const numbersOf = (tasks: readonly Task[]): number[] =>
  tasks.map(({ jobId }) => Number(jobId.slice(-12)))

const operationsIn = (effect: ArchiveEffect | undefined): readonly ArchiveOperation[] =>
  effect?.do === 'commit' ? effect.operations : []

const answersIn = <Reply>(effects: readonly ArchiveEffect[]): Reply[] =>
  effects.flatMap((effect) => (effect.do === 'answer' ? [effect.value as Reply] : []))

/** Jobs that are worked on next. */
const workIn = (effects: readonly ArchiveEffect[]): number[] | undefined =>
  effects.flatMap((effect) => (effect.do === 'work' ? [numbersOf(effect.tasks)] : []))[0]

/** The archive's rules with the state kept; each word answers with the effects. */
function anArchive({ isNew = false } = {}) {
  const stored = {
    nextSeq: 1,
    waiting: [],
    running: [],
    gpus: new Map(),
    drainedNodes: new Set<NodeName>(),
    lost: [],
    submissions: [],
  }
  const queue = restoreQueue(queueSettings, stored)
  let state = isNew ? newArchive : { ...newArchive, queue, isRecovered: true }
  const tell = (mail: ArchiveMail): readonly ArchiveEffect[] => {
    const [next, effects] = transition(state, mail, midnight)
    state = next
    return effects
  }
  return {
    queue,
    tell,
    deletes(...numbers: number[]) {
      const selection = { status: ['success'] } as const
      const command = { type: 'deleteVideos', selection, scope, replyTo: deleter } as const
      return tell({ type: 'videosSelected', command, jobIds: numbers.map(jobId) })
    },
    workNow: () => numbersOf(state.step?.shares.flatMap(({ tasks }) => tasks) ?? []),
    works: (outcomes: readonly TaskOutcome[]) => tell({ type: 'worked', outcomes }),
    commits: () => tell({ type: 'written', result: { how: 'committed' } }),
  }
}
