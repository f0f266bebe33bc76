import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Kysely, sql } from 'kysely'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { PastAttempt } from '../../../src/actors/eta/eta-ports.ts'
import type { AttemptOrder } from '../../../src/actors/gpu/gpu-ports.ts'
import type { FinishedFilter } from '../../../src/actors/janitor/janitor-ports.ts'
import type { Outcome, StoreOperation } from '../../../src/actors/queue/queue-ports.ts'
import { root } from '../../../src/config/root.ts'
import type { Scope } from '../../../src/domain/client.ts'
import type { Checkpoint, ToldEstimate } from '../../../src/domain/estimate.ts'
import type { GpuId, Job, JobId, VideoRequest } from '../../../src/domain/job.ts'
import {
  createDirectories,
  createWorkFiles,
  lockDirectory,
} from '../../../src/infra/disk/data-directory.ts'
import { openDatabase } from '../../../src/infra/store/database.ts'
import { createEtaStore } from '../../../src/infra/store/eta-store.ts'
import { createJobStore } from '../../../src/infra/store/job-store.ts'
import { migrateToLatest } from '../../../src/infra/store/migrate.ts'
import { createRetentionStore } from '../../../src/infra/store/retention-store.ts'
import type { Database } from '../../../src/infra/store/schema.ts'
import { StaleOperationError } from '../../../src/infra/store/store-operations.ts'
import {
  aFailure,
  aQueuedJob,
  aRequest,
  aVideo,
  fromAnybody,
  gpu0,
  gpu1,
  jobId,
  midnight,
} from '../../support/jobs.ts'

let db: Kysely<Database>
let store: ReturnType<typeof createJobStore>
let history: ReturnType<typeof createEtaStore>
let directory: string

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'job-store-'))
  db = openDatabase(':memory:').db
  await migrateToLatest(db)
  store = createJobStore(db)
  history = createEtaStore(db, { task: 'ti2v-5B' })
})
afterEach(async () => {
  await db.destroy()
  rmSync(directory, { recursive: true, force: true })
})

const video = aVideo()
const success: Outcome = { status: 'success', video }
const canceled: Outcome = { status: 'canceled' }
const error: Outcome = { status: 'error', failure: aFailure('gpu_error') }

/** What happens to job `n`, one minute after the other. */
const operations = {
  submit: (
    n: number,
    request: Partial<Omit<VideoRequest, 'image'>> = {},
    owner: string | null = null,
  ): StoreOperation => ({
    op: 'submit',
    jobId: jobId(n),
    seq: n,
    request: aRequest(request),
    ...fromAnybody,
    owner,
    at: minute(0),
  }),
  claim: (
    n: number,
    epoch = 1,
    { gpu = gpu0, filename = `video-${n}.mp4` } = {},
  ): StoreOperation => ({
    op: 'claim',
    jobId: jobId(n),
    epoch,
    attempt: epoch,
    gpu,
    filename,
    at: minute(1),
  }),
  began: (n: number, epoch = 1): StoreOperation => ({
    op: 'began',
    jobId: jobId(n),
    epoch,
    at: minute(2),
  }),
  generated: (n: number, epoch = 1): StoreOperation => ({
    op: 'generated',
    jobId: jobId(n),
    epoch,
    at: minute(3),
  }),
  requestCancel: (n: number, epoch = 1): StoreOperation => ({
    op: 'requestCancel',
    jobId: jobId(n),
    epoch,
    at: minute(3),
  }),
  finish: (n: number, outcome: Outcome = success, epoch = 1, at = minute(4)): StoreOperation => ({
    op: 'finish',
    jobId: jobId(n),
    epoch,
    outcome,
    at,
  }),
  forgetVideo: (n: number): StoreOperation => ({
    op: 'forgetVideo',
    jobId: jobId(n),
    at: minute(9),
  }),
}
const { submit, claim, began, generated, requestCancel, finish, forgetVideo } = operations

const remove = (n: number): StoreOperation => ({ op: 'remove', jobId: jobId(n), at: minute(10) })

const release = (n: number, epoch = 1, failed = true): StoreOperation => ({
  op: 'release',
  jobId: jobId(n),
  epoch,
  attempts: failed ? epoch : epoch - 1,
  ...(failed && { failure: aFailure() }),
  at: minute(4),
})

/** Job `n` from its submission to its video. */
const made = (n: number, details: { gpu?: GpuId; filename?: string } = {}) => [
  submit(n),
  claim(n, 1, details),
  began(n),
  generated(n),
  finish(n),
]

describe('the record of a job', () => {
  it('is as it was submitted', async () => {
    const request = aRequest({
      prompt: "a fox'; drop table job; --\n🦊 «été» \\u0000",
      size: '720x1280',
      frames: 81,
      steps: 30,
      guidance: 4.5,
      shift: 3.5,
      seed: Number.MAX_SAFE_INTEGER,
      filename: 'fox.mp4',
    })
    await store.commit([submit(1, request)])
    expect(await store.find(jobId(1), 'everything')).toEqual({ ...aQueuedJob(1), request })
    expect(await store.attempts(jobId(1))).toEqual([])
  })

  it('tells its running, converting and success', async () => {
    const running = { status: 'running', phase: 'generating', gpu: gpu1, filename: 'fox.mp4' }
    await store.commit([submit(1)])
    await store.commit([claim(1, 1, { gpu: gpu1, filename: 'fox.mp4' })])
    expect(await store.find(jobId(1), 'everything')).toMatchObject({
      epoch: 1,
      attempts: 1,
      state: { ...running, claimedAt: minute(1), cancelRequested: false },
    })
    expect((await stateOf(1)).status === 'running' && (await stateOf(1))).not.toHaveProperty(
      'startedAt',
    )
    await store.commit([began(1)])
    expect(await stateOf(1)).toMatchObject({ ...running, startedAt: minute(2) })
    await store.commit([generated(1)])
    const converting = { ...running, phase: 'converting', generatedAt: minute(3) }
    expect(await stateOf(1)).toMatchObject(converting)
    await store.commit([finish(1)])
    expect(await stateOf(1)).toEqual({
      status: 'success',
      gpu: gpu1,
      filename: 'fox.mp4',
      startedAt: minute(2),
      endedAt: minute(4),
      video,
    })
    expect(await store.attempts(jobId(1))).toEqual([
      {
        epoch: 1,
        number: 1,
        gpu: gpu1,
        claimedAt: minute(1),
        startedAt: minute(2),
        generatedAt: minute(3),
        endedAt: minute(4),
        outcome: 'success',
        command: [],
      },
    ])
  })

  it('tells why it failed', async () => {
    await store.commit([submit(1), claim(1), began(1), finish(1, error)])
    const failure = aFailure('gpu_error')
    const known = { gpu: gpu0, startedAt: minute(2), endedAt: minute(4) }
    expect(await stateOf(1)).toEqual({ status: 'error', failure, ...known })
    expect(await store.attempts(jobId(1))).toMatchObject([{ outcome: 'error', failure }])
  })

  it('tells that it was canceled while it waited', async () => {
    await store.commit([submit(1), finish(1, canceled, 0)])
    expect(await stateOf(1)).toEqual({ status: 'canceled', endedAt: minute(4) })
    expect(await store.attempts(jobId(1))).toEqual([])
  })

  it('keeps the wish to cancel until the end', async () => {
    await store.commit([submit(1), claim(1), requestCancel(1)])
    expect(await stateOf(1)).toMatchObject({ status: 'running', cancelRequested: true })
    await store.commit([finish(1, canceled)])
    expect(await stateOf(1)).toEqual({
      status: 'canceled',
      gpu: gpu0,
      endedAt: minute(4),
      cancelRequestedAt: minute(3),
    })
    expect(await store.attempts(jobId(1))).toMatchObject([{ outcome: 'canceled' }])
  })

  it('waits again as if nothing had been, but for what is known of its attempts', async () => {
    await store.commit([submit(1), claim(1), began(1), release(1)])
    expect(await store.find(jobId(1), 'everything')).toEqual(
      aQueuedJob(1, { epoch: 1, attempts: 1 }),
    )
    await store.commit([claim(1, 2, { gpu: gpu1 }), release(1, 2, false)])
    expect(await store.find(jobId(1), 'everything')).toEqual(
      aQueuedJob(1, { epoch: 2, attempts: 1 }),
    )
    const [first, second] = await store.attempts(jobId(1))
    expect(first).toMatchObject({ epoch: 1, outcome: 'error', failure: aFailure() })
    expect(second).toEqual({
      epoch: 2,
      number: 2,
      gpu: gpu1,
      claimedAt: minute(1),
      endedAt: minute(4),
      outcome: 'released',
      command: [],
    })
  })

  it('leaves no trace of a former attempt in the next', async () => {
    await store.commit([submit(1), claim(1), began(1), generated(1), release(1), claim(1, 2)])
    const state = await stateOf(1)
    expect(state).toMatchObject({ status: 'running', phase: 'generating' })
    expect(state).not.toHaveProperty('startedAt')
    expect(state).not.toHaveProperty('generatedAt')
  })

  it('says when its file was deleted, and stays', async () => {
    await store.commit([...made(1), forgetVideo(1)])
    expect(await stateOf(1)).toMatchObject({ status: 'success', fileDeletedAt: minute(9) })
  })

  it('is gone for everybody once it is removed, and its attempts are not', async () => {
    await store.commit([...made(1, { filename: 'fox.mp4' }), submit(2), remove(1)])
    expect(await store.find(jobId(1), 'everything')).toBeUndefined()
    expect(await store.findMany([jobId(1)], 'everything')).toEqual([])
    const list = (filter = {}) => store.list({ order: 'asc', limit: 9, ...filter }, 'everything')
    expect(numbersOf((await list()).jobs)).toEqual([2])
    // Who pages through may have stopped just there.
    expect(numbersOf((await list({ after: jobId(1) })).jobs)).toEqual([2])
    expect(await store.lookup(aRequest().prompt, 9, 'everything')).toHaveLength(1)
    expect(await store.videos({ status: ['success'] }, 'everything')).toEqual([])
    expect(await store.isNamePromised('fox.mp4')).toBe(false)
    expect(await history.recent(9)).toHaveLength(1)
    expect((await store.load(minute(11))).nextSeq).toBe(3)
    const { rows } = await sql`select prompt, failure from job where id = ${jobId(1)}`.execute(db)
    expect(rows).toEqual([{ prompt: '', failure: null }])
  })

  it.each([
    ['waits', [submit(1)]],
    ['runs', [submit(1), claim(1)]],
  ])('is not removed while its job %s', async (_what, before) => {
    await store.commit([...before, remove(1)])
    expect(await store.find(jobId(1), 'everything')).toBeDefined()
  })

  it('has the image it was submitted with', async () => {
    const image = { type: 'png', width: 640, height: 480, bytes: 1234, sha256: 'ab' } as const
    const request = { ...aRequest(), image, remixOf: jobId(9) }
    const submitted = { ...submit(1), request } as StoreOperation
    await store.commit([submitted])
    expect((await store.find(jobId(1), 'everything'))?.request).toEqual(request)
  })

  it('of a job that never was is nothing', async () => {
    expect(await store.find(jobId(1), 'everything')).toBeUndefined()
    expect(await store.attempts(jobId(1))).toEqual([])
    expect(await store.findMany([jobId(1)], 'everything')).toEqual([])
    expect(await store.findMany([], 'everything')).toEqual([])
  })

  it('is found among others', async () => {
    await store.commit([submit(1), submit(2), submit(3)])
    const found = await store.findMany([jobId(3), jobId(1), jobId(9)], 'everything')
    expect(numbersOf(found).toSorted()).toEqual([1, 3])
  })

  async function stateOf(n: number) {
    const job = await store.find(jobId(n), 'everything')
    if (!job) throw new Error(`no job ${n}`)
    return job.state
  }
})

describe('a change that comes too late', () => {
  it.each<[what: string, late: StoreOperation, before: StoreOperation[]]>([
    ['a claim of an epoch that was', claim(1, 1, { gpu: gpu1 }), [claim(1), release(1)]],
    ['a claim of an epoch to come', claim(1, 3), [claim(1), release(1)]],
    ['a start', began(1, 1), [claim(1), release(1), claim(1, 2)]],
    ['an end of the generation', generated(1, 1), [claim(1), release(1), claim(1, 2)]],
    ['a release', release(1, 1), [claim(1), release(1), claim(1, 2)]],
    ['a wish to cancel', requestCancel(1, 1), [claim(1), release(1), claim(1, 2)]],
    ['an end', finish(1, success, 1), [claim(1), release(1), claim(1, 2)]],
    ['an end after the end', finish(1, success), [claim(1), finish(1, canceled)]],
    ['a claim after the end', claim(1, 2), [claim(1), finish(1, error)]],
    ['a release after the end', release(1), [claim(1), finish(1, canceled)]],
    ['anything of a job that never was', finish(8, canceled, 0), []],
  ])('is refused: %s', async (_what, late, before) => {
    await store.commit([submit(1), ...before])
    const was = await everything()
    await expect(store.commit([late])).rejects.toThrow(StaleOperationError)
    expect(await everything()).toEqual(was)
  })

  it('takes everything with it that was to be written together', async () => {
    await store.commit([submit(1), claim(1), submit(2)])
    const was = await everything()
    const batch = [submit(3), claim(2, 1, { gpu: gpu1 }), finish(1, success, 9), submit(4)]
    await expect(store.commit(batch)).rejects.toThrow(StaleOperationError)
    expect(await everything()).toEqual(was)
    await store.commit([submit(3), submit(4)])
    expect((await store.load(0)).nextSeq).toBe(5)
  })

  it('is named with its job and epoch', async () => {
    await store.commit([submit(1)])
    await expect(store.commit([began(1, 7)])).rejects.toThrow(`began of ${jobId(1)} at epoch 7`)
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
    await expect(store.commit(batch)).rejects.toThrow(/UNIQUE|constraint/)
    expect(await everything()).toEqual([])
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
    await store.commit(batch)
    expect(await everything()).not.toEqual([])
  })
})

describe('a job that is over its time', () => {
  const day = 24 * 60 * 60_000
  const expire = (n: number, at = minute(10)): StoreOperation => ({
    op: 'expire',
    jobId: jobId(n),
    at,
  })
  const pin = (n: number, pinned = true): StoreOperation => ({
    op: 'pin',
    jobId: jobId(n),
    pinned,
    at: minute(5),
  })
  const rows = () => db.selectFrom('job').selectAll().orderBy('seq').execute()

  it('is no longer there, but for when it went', async () => {
    const prompt = 'not for everybody'
    const failed = finish(2, { status: 'error', failure: { ...aFailure(), message: prompt } })
    await store.commit([
      ...[submit(1, { prompt }, 'fox'), claim(1), finish(1)],
      ...[submit(2, { prompt }, 'fox'), claim(2), failed],
      ...[expire(1), expire(2)],
    ])
    expect(await store.find(jobId(1), 'everything')).toBeUndefined()
    const gone = { jobId: jobId(1), expiredAt: minute(10) }
    for (const scope of ['everything', { owner: 'fox' }, { jobId: jobId(1) }] as const) {
      expect(await store.findExpired({ jobId: jobId(1) }, scope)).toEqual(gone)
      expect(await store.findExpired({ filename: 'VIDEO-1.mp4' }, scope)).toEqual(gone)
    }
    for (const scope of [{ owner: 'owl' }, { jobId: jobId(2) }] as const) {
      expect(await store.findExpired({ jobId: jobId(1) }, scope)).toBeUndefined()
      expect(await store.findExpired({ filename: 'video-1.mp4' }, scope)).toBeUndefined()
    }
    expect(JSON.stringify(await contentsOf(db))).not.toContain(prompt)
  })

  it('is not told of when it was deleted on request, nor does it expire then', async () => {
    await store.commit([...made(1), remove(1), expire(1)])
    expect(await store.findExpired({ jobId: jobId(1) }, 'everything')).toBeUndefined()
  })

  it.each([
    ['waits', [submit(1)]],
    ['runs', [submit(1), claim(1)]],
    ['is converted', [submit(1), claim(1), generated(1)]],
  ])('is none that %s', async (_, operations) => {
    await store.commit([...operations, expire(1)])
    expect(await store.find(jobId(1), 'everything')).toBeDefined()
  })

  it('leaves what estimates learn from', async () => {
    await store.commit([...made(1), expire(1)])
    expect(await history.recent(10)).toHaveLength(1)
  })

  it('is the latest of its name, and its name is free', async () => {
    const named = { filename: 'a.mp4' }
    await store.commit([...made(1, named), expire(1)])
    expect(await store.isNamePromised('a.mp4')).toBe(false)
    await store.commit([submit(2, named), claim(2, 1, named), finish(2), expire(2, minute(20))])
    expect(await store.findExpired(named, 'everything')).toEqual({
      jobId: jobId(2),
      expiredAt: minute(20),
    })
  })

  it('is kept while it is pinned, and found by that', async () => {
    await store.commit([...made(1), ...made(2), pin(1), pin(2), pin(2, false)])
    expect(await store.find(jobId(1), 'everything')).toMatchObject({ pinnedAt: minute(5) })
    expect(await store.find(jobId(2), 'everything')).not.toHaveProperty('pinnedAt')
    for (const [pinned, n] of [
      [true, 1],
      [false, 2],
    ] as const) {
      const { jobs } = await store.list({ order: 'asc', limit: 9, pinned }, 'everything')
      expect(jobs.map(({ id }) => id)).toEqual([jobId(n)])
    }
  })

  it('comes in the order of the ends, a page at a time', async () => {
    const retention = createRetentionStore(db)
    expect([await retention.latestEnd(), await retention.videoBytes()]).toEqual([undefined, 0])
    await store.commit([
      ...[submit(1), claim(1), finish(1, success, 1, minute(9))],
      ...[submit(2), claim(2), finish(2, error, 1, minute(8))],
      ...[submit(3), claim(3), finish(3, success, 1, minute(8))],
      ...[submit(4), claim(4), finish(4, success, 1, minute(20)), pin(4)],
      ...[submit(5), claim(5)],
    ])
    const ids = async (filter: Partial<FinishedFilter>) =>
      (await retention.finished({ limit: 9, ...filter })).map(({ jobId: id }) => id)
    expect(await ids({})).toEqual([2, 3, 1].map(jobId))
    expect(await ids({ limit: 2 })).toEqual([2, 3].map(jobId))
    expect(await ids({ after: { endedAt: minute(8), seq: 2 } })).toEqual([3, 1].map(jobId))
    expect(await ids({ endedBefore: minute(9) })).toEqual([2, 3].map(jobId))
    expect(await ids({ endedBefore: minute(8) })).toEqual([])
    expect(await ids({ status: ['error'] })).toEqual([jobId(2)])
    expect(await ids({ withVideo: true })).toEqual([3, 1].map(jobId))
    expect(await retention.latestEnd()).toBe(minute(9))
    expect(await retention.videoBytes()).toBe(3 * video.bytes)
    await store.commit([forgetVideo(1), expire(3)])
    expect(await retention.videoBytes()).toBe(video.bytes)
    expect(await ids({})).toEqual([2, 1].map(jobId))
  })

  it('is forgotten by name when its time is over, and altogether when many came after it', async () => {
    const forget = (before: number): StoreOperation => ({ op: 'forgetTombstones', before })
    await store.commit([...made(1), expire(1), ...made(2), expire(2, minute(20)), submit(3)])
    await store.commit([forget(minute(15))])
    expect(await store.findExpired({ jobId: jobId(1) }, 'everything')).toBeUndefined()
    expect(await store.findExpired({ jobId: jobId(2) }, 'everything')).toBeDefined()
    expect((await rows()).map(({ filename }) => filename)).toEqual([null, 'video-2.mp4', null])
    expect(await history.recent(10)).toHaveLength(2)

    await db.updateTable('job').set({ seq: 1_001 }).where('id', '=', jobId(3)).execute()
    await store.commit([forget(minute(0) + 90 * day)])
    expect((await rows()).map(({ id }) => id)).toEqual([jobId(2), jobId(3)])
    expect(await history.recent(10)).toHaveLength(1)
  })
})

describe('a submission', () => {
  const remember = (n: number, key?: string, at = minute(n), caller = 'fox'): StoreOperation => ({
    op: 'remember',
    jobId: jobId(n),
    identity: { caller, fingerprint: 'same', ...(key !== undefined && { key }) },
    keepSince: at - minutes(60),
    at,
  })
  const minutes = (count: number) => minute(count) - minute(0)
  const find = (key?: string, since = minute(0), caller = 'fox') =>
    store.findSubmission({ caller, fingerprint: 'same', ...(key !== undefined && { key }) }, since)
  const job = (n: number) => ({ jobId: jobId(n), fingerprint: 'same' })

  it('is found by its key or by what it asks for, and by its own caller only', async () => {
    await store.commit([submit(1), remember(1, 'one'), submit(2), remember(2)])
    expect(await find('one')).toEqual(job(1))
    expect(await find('two')).toBeUndefined()
    expect(await find()).toEqual(job(2))
    expect(await find(undefined, minute(2))).toBeUndefined()
    expect(await find('one', minute(0), 'owl')).toBeUndefined()
    expect(await find(undefined, minute(0), 'owl')).toBeUndefined()
  })

  it('is still found when its job is removed', async () => {
    await store.commit([
      ...made(1),
      remember(1, 'one'),
      { op: 'remove', jobId: jobId(1), at: minute(10) },
    ])
    expect(await find('one')).toEqual(job(1))
  })

  it('is forgotten in time, and its key is free', async () => {
    await store.commit([submit(1), remember(1, 'one')])
    await store.commit([submit(2), remember(2, 'one', minute(61))])
    expect(await find('one')).toEqual(job(2))
  })

  it('has its key for itself', async () => {
    await store.commit([submit(1), remember(1, 'one'), submit(2), submit(3)])
    await expect(store.commit([remember(2, 'one')])).rejects.toThrow('UNIQUE')
    await store.commit([remember(3, 'one', minute(3), 'owl')])
    expect(await find('one', minute(0), 'owl')).toEqual(job(3))
  })
})

describe('a name', () => {
  it('is promised while its job waits, runs or has its file', async () => {
    const promised = () => store.isNamePromised('fox.mp4')
    expect(await promised()).toBe(false)
    await store.commit([submit(1, { filename: 'Fox.mp4' })])
    expect(await promised()).toBe(true)
    await store.commit([claim(1, 1, { filename: 'Fox.mp4' })])
    expect(await promised()).toBe(true)
    await store.commit([release(1)])
    expect(await promised()).toBe(true)
    await store.commit([claim(1, 2, { filename: 'Fox.mp4' }), generated(1, 2)])
    await store.commit([finish(1, success, 2)])
    expect(await promised()).toBe(true)
    await store.commit([forgetVideo(1)])
    expect(await promised()).toBe(false)
  })

  it.each([error, canceled])('is not promised once its job has ended as $status', async (end) => {
    await store.commit([submit(1, { filename: 'fox.mp4' }), finish(1, end, 0)])
    expect(await store.isNamePromised('fox.mp4')).toBe(false)
  })

  it('that was made for an attempt goes with it', async () => {
    await store.commit([submit(1), claim(1, 1, { filename: 'made.mp4' })])
    expect(await store.isNamePromised('made.mp4')).toBe(true)
    await store.commit([release(1)])
    expect(await store.isNamePromised('made.mp4')).toBe(false)
  })
})

describe('what a starting queue takes up', () => {
  it('is nothing at first', async () => {
    expect(await store.load(0)).toEqual({
      nextSeq: 1,
      waiting: [],
      running: [],
      gpus: new Map(),
      submissions: [],
    })
  })

  it('is what waits and what runs, in the order of submission, and the next number', async () => {
    await store.commit([
      ...[submit(3), submit(1), submit(2), submit(4), submit(5), submit(6)],
      ...[claim(1), generated(1), claim(2), claim(3, 1, { gpu: gpu1 }), release(3)],
      finish(6, canceled, 0),
    ])
    const { nextSeq, waiting, running } = await store.load(0)
    expect(nextSeq).toBe(7)
    expect(numbersOf(waiting)).toEqual([3, 4, 5])
    expect(numbersOf(running)).toEqual([1, 2])
    expect(running[0]?.state).toMatchObject({ phase: 'converting' })
  })
})

describe('what was submitted of late', () => {
  it('is counted by owner, else by address, however it ended', async () => {
    const from = (n: number, owner: string | null, address: string | null, at: number) => ({
      ...({
        op: 'submit',
        jobId: jobId(n),
        seq: n,
        request: aRequest(),
        owner,
        address,
        at,
      } as const),
    })
    await store.commit([
      from(1, 'ada', null, minute(1)),
      from(2, 'ada', null, minute(2)),
      from(3, null, '192.0.2.7', minute(3)),
      from(4, null, null, minute(4)),
      ...[from(5, 'bob', null, minute(5)), finish(5, canceled, 0)],
    ])
    expect((await store.load(minute(1))).submissions).toEqual([
      { by: 'ada', at: minute(2) },
      { by: '192.0.2.7', at: minute(3) },
      { by: 'bob', at: minute(5) },
    ])
  })
})

describe('a list of jobs', () => {
  beforeEach(() =>
    store.commit([
      ...made(1),
      ...[submit(2), finish(2, canceled, 0), submit(3), claim(3), submit(4), submit(5)],
      ...[finish(5, error, 0), ...made(6, { gpu: gpu1 }), forgetVideo(6)],
    ]),
  )

  it.each<[filter: Partial<Parameters<typeof store.list>[0]>, numbers: number[]]>([
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
    const page = await store.list({ order: 'asc', limit: 100, ...filter }, 'everything')
    expect(numbersOf(page.jobs)).toEqual(numbers)
    expect(page.hasMore).toBe(false)
  })

  it.each(['asc', 'desc'] as const)('is read page by page, %s', async (order) => {
    const seen: number[][] = []
    let after: JobId | undefined
    for (let hasMore = true; hasMore; ) {
      const page = await store.list({ order, limit: 4, ...(after && { after }) }, 'everything')
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
    expect(await store.list({ order: 'asc', limit: 6 }, 'everything')).toMatchObject({
      hasMore: false,
    })
    expect(await store.list({ order: 'asc', limit: 5 }, 'everything')).toMatchObject({
      hasMore: true,
    })
  })
})

describe('what lies outside a scope', () => {
  const ada = { owner: 'ada' }
  beforeEach(() =>
    store.commit([
      ...[submit(1, {}, 'ada'), claim(1), began(1), generated(1), finish(1)],
      ...[submit(2, {}, 'bob'), claim(2), began(2), generated(2), finish(2)],
      ...[submit(3), claim(3), began(3), generated(3), finish(3)],
    ]),
  )

  it.each<[asked: string, ask: (scope: Scope) => Promise<readonly Job[]>]>([
    [
      'find',
      async (scope) => all(await Promise.all([1, 2, 3].map((n) => store.find(jobId(n), scope)))),
    ],
    ['findMany', (scope) => store.findMany([1, 2, 3].map(jobId), scope)],
    ['list', async (scope) => (await store.list({ order: 'asc', limit: 9 }, scope)).jobs],
    [
      'lookup',
      (scope) => store.lookup(aRequest().prompt, 9, scope).then((jobs) => jobs.toReversed()),
    ],
    ['videos by id', (scope) => store.videos({ ids: [1, 2, 3].map(jobId) }, scope)],
    ['videos by name', (scope) => store.videos({ filenames: names }, scope)],
    ['videos by status', (scope) => store.videos({ status: ['success'] }, scope)],
  ])('is not there for %s', async (_, ask) => {
    expect(numbersOf(await ask(ada))).toEqual([1])
    expect(numbersOf(await ask({ jobId: jobId(3) }))).toEqual([3])
    expect(numbersOf(await ask({ owner: 'null' }))).toEqual([])
    expect(numbersOf(await ask('everything'))).toEqual([1, 2, 3])
  })

  it('is no place that a page can begin behind', async () => {
    const behind = (after: JobId) => store.list({ order: 'desc', limit: 9, after }, ada)
    expect(await behind(jobId(2))).toEqual(await behind(jobId(99)))
  })

  const names = ['video-1.mp4', 'video-2.mp4', 'video-3.mp4']
  const all = (jobs: readonly (Job | undefined)[]) => jobs.filter((job) => job !== undefined)
})

describe('a lookup', () => {
  it('finds the jobs of exactly this prompt, latest first', async () => {
    const prompts = ['a fox', 'A fox', 'a fox ', 'a fox', 'a fo', 'a fox']
    await store.commit(prompts.map((prompt, index) => submit(index + 1, { prompt })))
    expect(numbersOf(await store.lookup('a fox', 10, 'everything'))).toEqual([6, 4, 1])
    expect(numbersOf(await store.lookup('a fox', 1, 'everything'))).toEqual([6])
    expect(numbersOf(await store.lookup('a fox ', 10, 'everything'))).toEqual([3])
    expect(await store.lookup('a f%', 10, 'everything')).toEqual([])
  })

  it('is not fooled by two prompts of one digest', async () => {
    await store.commit([submit(1, { prompt: 'a fox' }), submit(2, { prompt: 'an owl' })])
    const fox = db.selectFrom('job').select('prompt_digest').where('seq', '=', 1)
    await db.updateTable('job').set({ prompt_digest: fox }).where('seq', '=', 2).execute()
    expect(numbersOf(await store.lookup('a fox', 10, 'everything'))).toEqual([1])
  })
})

describe('the videos', () => {
  beforeEach(() =>
    store.commit([
      ...made(1, { filename: 'a.mp4' }),
      ...made(2, { filename: 'b.mp4' }),
      ...[...made(3, { filename: 'c.mp4' }), forgetVideo(3)],
      ...[submit(4, { filename: 'd.mp4' }), submit(5), claim(5, 1, { filename: 'e.mp4' })],
    ]),
  )

  it.each<[selection: Parameters<typeof store.videos>[0], numbers: number[]]>([
    [{ ids: [jobId(2), jobId(1), jobId(3), jobId(4), jobId(99)] }, [1, 2]],
    [{ ids: [] }, []],
    [{ filenames: ['b.mp4', 'c.mp4', 'd.mp4', 'e.mp4'] }, [2]],
    [{ filenames: ['A.MP4'] }, [1]],
    [{ filenames: [] }, []],
    [{ status: ['success'] }, [1, 2]],
    [{ status: ['queued', 'running', 'error'] }, []],
  ])('of %o are those of %o, for only their files are there', async (selection, numbers) => {
    expect(numbersOf(await store.videos(selection, 'everything'))).toEqual(numbers)
  })
})

describe('what is remembered of speed', () => {
  it('is the latest successes of each GPU, oldest first', async () => {
    await store.commit([
      ...lasting(1, gpu0, 100, 1),
      ...lasting(2, gpu1, 500, 5),
      ...lasting(3, gpu0, 200, 2),
      ...lasting(4, gpu0, 300, 3),
      ...[submit(5), claim(5), began(5), finish(5, error)],
    ])
    expect((await history.recent(2)).map(lengths)).toEqual([
      [gpu1, 500, 5],
      [gpu0, 200, 2],
      [gpu0, 300, 3],
    ])
    expect(await history.recent(50)).toHaveLength(4)
  })

  it('counts of a job that was tried twice only the try that went well', async () => {
    await store.commit([submit(1), claim(1), release(1)])
    await store.commit([claim(1, 2), began(1, 2), generated(1, 2), finish(1, success, 2)])
    expect((await history.recent(50)).map(lengths)).toEqual([[gpu0, 120, 60]])
  })

  it('says of what kind the video and the GPU were, and where the time went', async () => {
    const setting = { task: 'ti2v-5B', gpuModels: new Map([[gpu0, 'NVIDIA H100']]), commandOf }
    const marks = { loading: minute(1), denoising: minute(2) }
    const trace = { source: 'events', began: marks, peakVramBytes: 1e9 } as const
    const known = createJobStore(db, { setting })
    await known.commit([
      submit(1),
      claim(1),
      began(1),
      { ...generated(1), trace } as StoreOperation,
    ])
    await known.commit([finish(1, success)])
    const { size, frames, steps } = aRequest()
    expect(await history.recent(50)).toMatchObject([
      { gpu: gpu0, gpuModel: 'NVIDIA H100', shape: { size, frames, steps }, began: marks },
    ])
    const command = ['python3', `--prompt=${aRequest().prompt}`]
    expect((await known.attempts(jobId(1))).at(-1)).toMatchObject({ trace, command })
  })

  it('is of the same task', async () => {
    const other = { task: 't2v-A14B', gpuModels: new Map(), commandOf }
    await createJobStore(db, { setting: other }).commit(lasting(1, gpu0, 100, 1))
    await store.commit(lasting(2, gpu0, 200, 1))
    expect((await history.recent(50)).map(lengths)).toEqual([[gpu0, 200, 1]])
  })

  const commandOf = ({ request }: AttemptOrder) => ['python3', `--prompt=${request.prompt}`]

  const lengths = ({ gpu, claimedAt, generatedAt, endedAt }: PastAttempt) => [
    gpu,
    (generatedAt - claimedAt) / 1000,
    (endedAt - generatedAt) / 1000,
  ]

  /** Job `n` at `n` o'clock. */
  function lasting(n: number, gpu: GpuId, generationSeconds: number, conversionSeconds: number) {
    const claimedAt = minute(60 * n)
    const generatedAt = claimedAt + 1000 * generationSeconds
    return [
      submit(n),
      { ...claim(n, 1, { gpu }), at: claimedAt },
      { ...generated(n), at: generatedAt },
      finish(n, success, 1, generatedAt + 1000 * conversionSeconds),
    ]
  }
})

describe('what is remembered of estimates', () => {
  const told = (n: number, checkpoint: Checkpoint, at: number): ToldEstimate => ({
    ...{ jobId: jobId(n), checkpoint, at, source: 'history' },
    ...{ p10: 50, p50: 60, p90: 70, spread: 0.1 },
  })

  it('is held against when the video was there, of jobs that needed one attempt', async () => {
    await store.commit([submit(1), claim(1), began(1), generated(1), finish(1, success)])
    await store.commit([submit(2), claim(2), began(2), finish(2, error)])
    await store.commit([submit(3), claim(3), release(3)])
    await store.commit([claim(3, 2), began(3, 2), generated(3, 2), finish(3, success, 2)])
    const [job] = await store.findMany([jobId(1)], 'everything')
    const endedAt = job?.state.status === 'success' ? job.state.endedAt : 0
    await history.record([
      told(1, 'submit', endedAt - 90_000),
      told(1, '50', endedAt - 30_000),
      ...[told(2, 'submit', 1), told(3, 'submit', 1)],
    ])
    const outcomes = await history.outcomes(10)
    expect(outcomes.map(({ checkpoint, actual }) => [checkpoint, actual])).toEqual(
      expect.arrayContaining([
        ['submit', 90],
        ['50', 30],
      ]),
    )
    expect(outcomes).toHaveLength(2)
    expect(outcomes[0]).toMatchObject({ gpu: gpu0, p10: 50, p50: 60, p90: 70, spread: 0.1 })
  })

  it('is the first that was told at each checkpoint', async () => {
    await store.commit([submit(1), claim(1), began(1), generated(1), finish(1, success)])
    await history.record([told(1, 'submit', 1_000)])
    await history.record([{ ...told(1, 'submit', 2_000), p50: 99 }])
    expect((await history.outcomes(10)).map(({ p50 }) => p50)).toEqual([60])
  })
})

describe('a database on disk', () => {
  const path = () => join(directory, 'state.db')

  it('does not take a power cut for a reason to forget, new or opened again', async () => {
    for (const _ of ['new', 'opened again']) {
      const onDisk = openDatabase(path()).db
      await migrateToLatest(onDisk)
      const pragma = async (name: string) => {
        const { rows } = await sql.raw<object>(`pragma ${name}`).execute(onDisk)
        return Object.values(rows[0] ?? {})[0]
      }
      expect(await pragma('journal_mode')).toBe('wal')
      expect(await pragma('synchronous')).toBe(2) // FULL
      expect(await pragma('foreign_keys')).toBe(1)
      await onDisk.destroy()
    }
  })

  it('has everything when it is opened again, however often it is migrated', async () => {
    const before = openDatabase(path()).db
    await migrateToLatest(before)
    await createJobStore(before).commit([...made(1), submit(2, { filename: 'b.mp4' }), submit(3)])
    await createJobStore(before).commit([claim(2, 1, { filename: 'b.mp4' })])
    const was = await contentsOf(before)
    await before.destroy()

    const after = openDatabase(path()).db
    await migrateToLatest(after)
    await migrateToLatest(after)
    expect(await contentsOf(after)).toEqual(was)
    expect(await createJobStore(after).load(0)).toMatchObject({
      nextSeq: 4,
      waiting: [{ id: jobId(3) }],
      running: [{ id: jobId(2) }],
    })
    await after.destroy()
  })

  it('forgets the attempts of a job together with the job', async () => {
    await store.commit(made(1))
    await db.deleteFrom('job').execute()
    expect(await store.attempts(jobId(1))).toEqual([])
  })
})

describe('the lock of a data directory', () => {
  const others: ChildProcess[] = []
  afterEach(() => {
    for (const other of others.splice(0)) other.kill('SIGKILL')
  })

  it('makes the directory when there is none', () => {
    const lock = lockDirectory(join(directory, 'new', 'data'))
    expect(existsSync(join(directory, 'new', 'data'))).toBe(true)
    lock.release()
  })

  it('is had by one service at a time, and free again when that lets go', () => {
    const lock = lockDirectory(directory)
    expect(() => lockDirectory(directory)).toThrow(`${directory} is in use`)
    expect(() => lockDirectory(directory)).toThrow(`pid ${process.pid}`)
    lock.release()
    lockDirectory(directory).release()
  })

  it('of another directory is another lock', () => {
    const locks = ['a', 'b'].map((name) => lockDirectory(join(directory, name)))
    for (const lock of locks) lock.release()
  })

  it('names the process that has it, and goes with that process, however it dies', async () => {
    const other = await holder()
    expect(readFileSync(join(directory, 'service.pid'), 'utf8')).toBe(`${other.pid}\n`)
    expect(() => lockDirectory(directory)).toThrow(`pid ${other.pid}`)

    other.kill('SIGKILL')
    await once(other, 'exit')
    const lock = lockDirectory(directory)
    expect(readFileSync(join(directory, 'service.pid'), 'utf8')).toBe(`${process.pid}\n`)
    lock.release()
  })

  async function holder(): Promise<ChildProcess> {
    const script = join(root, 'test/support/lock-holder.ts')
    const child = spawn(process.execPath, ['--expose-gc', script, directory], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    others.push(child)
    await once(child.stdout, 'data')
    return child
  }
})

describe('the directories', () => {
  it('are made with all that is above them', () => {
    const data = {
      workDir: join(directory, 'work'),
      resultsDir: join(directory, 'far', 'away', 'results'),
      logsDir: join(directory, 'logs'),
      previewsDir: join(directory, 'previews'),
      stateDb: join(directory, 'state', 'state.db'),
    }
    createDirectories(data)
    createDirectories(data)
    for (const path of [data.workDir, data.resultsDir, data.logsDir, join(directory, 'state')]) {
      expect(existsSync(path)).toBe(true)
    }
  })

  it('lose what a job has worked with, and nothing else', async () => {
    const workDir = join(directory, 'work')
    const work = (n: number) => join(workDir, jobId(n), '1')
    for (const n of [1, 2]) createDirectories({ ...anywhere(), workDir: work(n) })
    const files = createWorkFiles({ workDir, logsDir: directory })
    await files.discard(jobId(1))
    await files.discard(jobId(1))
    expect([existsSync(join(workDir, jobId(1))), existsSync(work(2))]).toEqual([false, true])
  })

  const anywhere = () => ({
    workDir: directory,
    resultsDir: directory,
    logsDir: directory,
    previewsDir: directory,
    stateDb: join(directory, 'state.db'),
  })
})

function minute(n: number): number {
  return midnight + n * 60_000
}

const numbersOf = (jobs: readonly Pick<Job, 'seq'>[]): number[] => jobs.map(({ seq }) => seq)

const everything = () => contentsOf(db)

async function contentsOf(db: Kysely<Database>): Promise<object[]> {
  const jobs = await db.selectFrom('job').selectAll().orderBy('seq').execute()
  const attempts = await db.selectFrom('attempt').selectAll().orderBy('job_id').execute()
  return [...jobs, ...attempts]
}
