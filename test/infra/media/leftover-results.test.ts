import { mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest'
import type { Job, JobState } from '../../../src/domain/job.ts'
import { resultsDirectory, writeMarker } from '../../../src/infra/disk/results-directory.ts'
import {
  type LeftoverOptions,
  removeLeftoverResults,
} from '../../../src/infra/media/leftover-results.ts'
import { aQueuedJob, aVideo, gpu0, jobId, midnight } from '../../support/jobs.ts'
import { aFileOf, box, movieWith } from '../../support/mp4.ts'

const [homeOfA, homeOfB] = [crypto.randomUUID(), crypto.randomUUID()]
let directory: string
beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'leftovers-'))
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }))
  await writeMarker(directory, 'id')
})

const running: JobState = {
  ...{ status: 'running', phase: 'converting', gpu: gpu0, filename: 'running.mp4' },
  ...{ claimedAt: midnight, cancelRequested: false },
}
const successful: JobState = {
  ...{ status: 'success', gpu: gpu0, filename: 'recorded.mp4', video: aVideo() },
  ...{ startedAt: midnight, endedAt: midnight },
}
const aJob = (n: number, epoch: number, state: JobState): Job => ({
  ...aQueuedJob(n),
  epoch,
  state,
})
const waiting: JobState = { status: 'queued' }

/** Puts a file there that was last written two hours ago. */
function put(name: string, content: Buffer | string = '', hoursAgo = 2): void {
  const path = join(directory, name)
  writeFileSync(path, content)
  const at = Date.now() / 1000 - hoursAgo * 3_600
  utimesSync(path, at, at)
}

const remove = (...jobs: readonly Job[]) => removeWith({}, ...jobs)

const removeWith = (
  options: Pick<LeftoverOptions, 'minAgeMs' | 'onlyVideos'>,
  ...jobs: readonly Job[]
) =>
  removeLeftoverResults({
    ...options,
    results: resultsDirectory(directory, { id: 'id', home: homeOfA }),
    find: async (id) => jobs.find((job) => job.id === id),
    recorded: async (names) => {
      const known = jobs.map(({ state }) => (state.status === 'success' ? state.filename : ''))
      return new Set(names.filter((name) => known.includes(name)))
    },
  })

const left = () => readdirSync(directory).filter((name) => name !== '.wan-cluster')

describe('an unfinished file of any node', () => {
  const name = (epoch: number) => `.unfinished.${homeOfB}.${jobId(1)}.${epoch}.${homeOfA}.mp4`

  it.each([
    ['its job runs in another attempt', aJob(1, 3, running)],
    ['its job waits', aJob(1, 2, waiting)],
    ['its job has ended', aJob(1, 2, successful)],
    ['its job is unknown', aJob(2, 2, running)],
  ])('is removed when %s', async (_what, job) => {
    put(name(2))
    put(`.unfinished.${jobId(1)}.2.${homeOfA}.mp4`)
    put('.unfinished.something')
    expect(await remove(job)).toHaveLength(3)
    expect(left()).toEqual([])
  })

  it('stays while its attempt runs, and as long as it may be written', async () => {
    put(name(2))
    put(name(1), '', 0.5)
    expect(await remove(aJob(1, 2, running))).toEqual([])
    expect(left()).toEqual([name(1), name(2)])
  })
})

describe('a video without a record', () => {
  it.each([
    ['another attempt was recorded', 1, aJob(1, 2, successful)],
    ['a later attempt runs', 1, aJob(1, 2, running)],
    ['a later attempt has been given back', 1, aJob(1, 2, waiting)],
    ['its attempt has been given back', 2, aJob(1, 2, waiting)],
    ['its job was canceled', 2, aJob(1, 2, { status: 'canceled', endedAt: midnight })],
  ])('is removed when %s', async (_what, epoch, job) => {
    put('other.mp4', aFileOf(jobId(1), 10, epoch))
    put('recorded.mp4', aFileOf(jobId(1), 10, 2))
    const expected = job.state.status === 'success' ? ['recorded.mp4'] : []
    if (expected.length === 0) rmSync(join(directory, 'recorded.mp4'))
    expect(await remove(job)).toEqual(['other.mp4'])
    expect(left()).toEqual(expected)
  })

  it.each([
    ['its attempt runs, and may be recorded', aFileOf(jobId(1), 10, 2), aJob(1, 2, running)],
    ['it is a copy of the recorded one', aFileOf(jobId(1), 10, 2), aJob(1, 2, successful)],
    ['its job is unknown, as after a restore', aFileOf(jobId(1), 10, 1), aJob(2, 2, successful)],
    [
      'its attempt is later than the restored record',
      aFileOf(jobId(1), 10, 3),
      aJob(1, 2, { status: 'canceled', endedAt: midnight }),
    ],
    ['it names no job', Buffer.from('film'), aJob(1, 2, successful)],
    [
      'it is of an earlier version',
      Buffer.concat([box('ftyp'), movieWith(`wan-supervisor job ${jobId(1)} seed 7`)]),
      aJob(1, 2, successful),
    ],
  ])('stays when %s', async (_what, content, job) => {
    put('other.mp4', content)
    put('notes.txt')
    expect(await remove(job)).toEqual([])
    expect(left()).toEqual(['notes.txt', 'other.mp4'])
  })

  it('is removed alone where unfinished files are left to others', async () => {
    put('other.mp4', aFileOf(jobId(1), 10, 1), 0)
    put('.unfinished.something')
    const options = { minAgeMs: 0, onlyVideos: true }
    await expect.poll(() => removeWith(options, aJob(1, 2, successful))).toEqual(['other.mp4'])
    expect(left()).toEqual(['.unfinished.something'])
  })

  it('stays for an hour', async () => {
    put('other.mp4', aFileOf(jobId(1), 10, 1), 0.9)
    expect(await remove(aJob(1, 2, successful))).toEqual([])
  })
})

describe('a directory that is not that of the cluster', () => {
  it('is left as it is', async () => {
    rmSync(join(directory, '.wan-cluster'))
    put('.unfinished.something')
    await expect(remove()).rejects.toThrow('Check that its file system is mounted')
    expect(left()).toEqual(['.unfinished.something'])
  })
})
