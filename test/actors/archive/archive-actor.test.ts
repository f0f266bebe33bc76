import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { ask, spawn, startActorSystem, tell } from '../../../src/actors/actor.ts'
import { archiveBehaviour } from '../../../src/actors/archive/archive-actor.ts'
import type { ArchiveOperation } from '../../../src/actors/archive/archive-ports.ts'
import { createArchiveWork } from '../../../src/actors/archive/archive-work.ts'
import type { EventMessage } from '../../../src/actors/event/event-protocol.ts'
import type { CommitResult, QueueOperation } from '../../../src/actors/queue/queue-ports.ts'
import type { QueueMessage } from '../../../src/actors/queue/queue-protocol.ts'
import { restoreQueue } from '../../../src/actors/queue/queue-restore.ts'
import { DiskFullError } from '../../../src/domain/errors.ts'
import type { JobId } from '../../../src/domain/job.ts'
import { migrateToLatest } from '../../../src/infra/store/migrate.ts'
import { openDatabase } from '../../../src/infra/store/sqlite/database.ts'
import { createJobStore } from '../../../src/infra/store/sqlite/sqlite-job-store.ts'
import {
  aRequest,
  aVideo,
  fromAnybody,
  gpuId,
  jobId,
  midnight,
  queueSettings,
} from '../../support/jobs.ts'
import { createProbe } from '../../support/probe.ts'

const scope = 'everything' as const

describe('the actor of the archive', () => {
  it('keeps the file of a new job that reuses the name of a deleted one during a bulk deletion', async () => {
    const { archive, files, add, afterCommit } = await anArchiveOf(25)
    // The bulk has chosen its jobs; the single deletion comes next, and then a new job.
    afterCommit(async (operations) => {
      if (!operations.some((one) => one.op === 'remove')) return
      expect(files.has('video-25.mp4')).toBe(false)
      await add(26, 'video-25.mp4')
    })
    const selection = { status: ['success'] } as const
    const bulk = ask(archive, { type: 'deleteVideos', selection, scope } as const)
    const single = ask(archive, { type: 'remove', jobId: jobId(25), scope })
    expect(await single).toBe('removed')
    expect((await bulk).deleted.map(({ filename }) => filename)).not.toContain('video-25.mp4')
    expect([...files]).toEqual([['video-25.mp4', jobId(26)]])
  })

  it('shows jobs with their position in the latest queue it received', async () => {
    const { archive, store } = await anArchiveOf(0)
    await store.commit([submit(1), submit(2)])
    tell(archive, { type: 'queueChanged', queue: restoreQueue(queueSettings, await store.load(0)) })
    const found = await ask(archive, { type: 'find', jobId: jobId(2), scope })
    expect(found).toMatchObject({ job: { id: jobId(2) }, position: 2 })
    const filter = { order: 'asc', limit: 9 } as const
    const { jobs } = await ask(archive, { type: 'list', filter, scope } as const)
    expect(jobs.map(({ position }) => position)).toEqual([1, 2])
  })

  it('announces itself to the queue, and reports changes once they are on disk', async () => {
    const { archive, queue, events } = await anArchiveOf(1)
    expect(await queue.next()).toEqual({ type: 'archiveReady' })
    const pinned = await ask(archive, { type: 'pin', jobId: jobId(1), pinned: true, scope })
    expect(pinned).toMatchObject({ job: { id: jobId(1), pinnedAt: expect.any(Number) } })
    expect(await events.next()).toEqual({
      type: 'jobsChanged',
      changes: new Map([[jobId(1), 'status']]),
    })
  })

  it('commits a removal as soon as a full disk has room again', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout'] })
    onTestFinished(() => void vi.useRealTimers())
    let failures = 2
    const { archive, files, store } = await anArchiveOf(1, {
      beforeCommit() {
        if (failures-- <= 0) return undefined
        return { how: 'full', error: new DiskFullError('the disk is full') }
      },
    })
    let answer: unknown
    void ask(archive, { type: 'remove', jobId: jobId(1), scope }, 60_000).then((removal) => {
      answer = removal
    })
    await expect
      .poll(() => {
        vi.advanceTimersByTime(1_000)
        return answer
      })
      .toBe('removed')
    expect(failures).toBe(-1)
    expect(files.size).toBe(0)
    expect(await store.find(jobId(1), scope)).toBeUndefined()
  })

  it('fails open questions when it ends', async () => {
    const { incarnation } = await anArchiveOf(0, { isNew: true })
    const question = ask(incarnation.ref, { type: 'find', jobId: jobId(1), scope })
    incarnation.stop()
    await expect(question).rejects.toThrow('the archive ended before it could answer')
  })
})

const submit = (n: number, filename?: string): QueueOperation => ({
  op: 'submit',
  jobId: jobId(n),
  seq: n,
  request: aRequest(filename === undefined ? {} : { filename }),
  ...fromAnybody,
  at: midnight,
})

/** The actor with the real store, in which as many jobs have a video. */
async function anArchiveOf(
  videos: number,
  {
    beforeCommit = () => undefined,
    isNew = false,
  }: { beforeCommit?(): CommitResult | undefined; isNew?: boolean } = {},
) {
  const { db } = openDatabase(':memory:')
  await migrateToLatest(db)
  const store = createJobStore(db)
  const files = new Map<string, JobId>()
  let afterCommit = async (_: readonly ArchiveOperation[]) => {}

  async function add(n: number, filename = `video-${n}.mp4`): Promise<void> {
    const attempt = { jobId: jobId(n), epoch: 1, at: midnight }
    await store.commit([
      submit(n, filename),
      { op: 'claim', ...attempt, attempt: 1, gpu: gpuId(n), filename },
      { op: 'finish', ...attempt, outcome: { status: 'success', video: aVideo() } },
    ])
    files.set(filename, jobId(n))
  }

  for (let n = 1; n <= videos; n++) await add(n)
  const queue = createProbe<QueueMessage>('queue')
  const events = createProbe<EventMessage>('events')
  const quiet = () => {}
  const work = createArchiveWork({
    store: {
      ...store,
      async commit(operations: readonly ArchiveOperation[]) {
        const result = beforeCommit() ?? (await store.commit(operations))
        await afterCommit(operations)
        return result
      },
    },
    videoFiles: {
      isInUse: () => false,
      find: async ({ filename }) => (files.has(filename) ? 'own' : 'missing'),
      arePresent: async (asked) => asked.map(({ filename }) => files.has(filename)),
      remove: async ({ filename }) => (files.delete(filename) ? 'own' : 'missing'),
    },
    jobFiles: { forget: async () => {} },
  })
  const incarnation = spawn(
    startActorSystem(),
    'archive',
    archiveBehaviour({
      store,
      work,
      queue: queue.ref,
      events: events.ref,
      observe: () => {},
      log: { debug: quiet, info: quiet, warn: quiet, error: quiet },
    }),
    () => {},
  )
  const { ref: archive } = incarnation
  const shown = restoreQueue(queueSettings, await store.load(0))
  if (!isNew) tell(archive, { type: 'queueChanged', queue: shown })
  return {
    incarnation,
    archive,
    queue,
    events,
    store,
    files,
    add,
    afterCommit: (act: typeof afterCommit) => {
      afterCommit = act
    },
  }
}
