import { createHash } from 'node:crypto'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { setImmediate as turnOfEventLoop } from 'node:timers/promises'
import { describe, expect, it, onTestFinished } from 'vitest'
import type { GenerationResult } from '../../../src/actors/gpu/gpu-ports.ts'
import { DatabaseUnreachableError } from '../../../src/domain/errors.ts'
import type { JobId, VideoRequest } from '../../../src/domain/job.ts'
import { imageOf } from '../../../src/infra/disk/data-directory.ts'
import { withFetchedImage } from '../../../src/infra/generation/fetched-image.ts'
import { createFakeRunner } from '../../support/fake-runner.ts'
import { aRequest, jobId } from '../../support/jobs.ts'

describe('a generation whose image is in the database', () => {
  it('is started when the image is whole on this disk', async () => {
    const parts = [picture.subarray(0, 4), picture.subarray(4)]
    const { start, generations, fetched, path } = aNode(async (part) => parts[part])
    const { observer } = start()
    await expect.poll(() => generations).toHaveLength(1)
    expect(generations[0]).toMatchObject({ began: 'started', order, observer })
    expect(readFileSync(path)).toEqual(picture)
    expect(readdirSync(dirname(path))).toEqual(['image'])
    expect(fetched).toEqual([0, 1].map((part) => ({ id: jobId(1), part })))
  })

  it('is started at once when it has no image, or one that is on this disk, and adopted at once', () => {
    const { start, adopt, immediate, fetched, path } = aNode(async () => picture)
    start({ order: { ...order, request: aRequest() } })
    mkdirSync(dirname(path))
    writeFileSync(path, picture)
    start()
    rmSync(path)
    adopt()
    expect(immediate.map(({ began }) => began)).toEqual(['started', 'started', 'adopted'])
    expect(fetched).toEqual([])
  })

  it('waits for a database that does not respond, and logs that once', async () => {
    let failures = 3
    const { start, generations, fetched, warnings } = aNode(async () => {
      if (failures-- > 0) throw unreachable
      return picture
    })
    start()
    await expect.poll(() => generations).toHaveLength(1)
    expect(fetched).toHaveLength(4)
    expect(warnings).toEqual(['the image of a job cannot be fetched for now; it is fetched again'])
  })

  it('goes on with the part that did not arrive', async () => {
    let failures = 2
    const { start, generations, fetched } = aNode(async (part) => {
      if (part === 1 && failures-- > 0) throw unreachable
      return part === 0 ? picture.subarray(0, 4) : picture.subarray(4)
    })
    start()
    await expect.poll(() => generations).toHaveLength(1)
    expect(fetched.map(({ part }) => part)).toEqual([0, 1, 1, 1])
  })

  it('fails as by the environment, with the reason, when no part arrives for too long', async () => {
    const { start, generations } = aNode(async () => Promise.reject(unreachable), { maxWaitMs: 20 })
    const { results } = start()
    await expect.poll(() => results).toHaveLength(1)
    const message = expect.stringMatching(/no part of it has arrived .* PostgreSQL cannot be used/)
    expect(results).toEqual([{ how: 'failed', failure: { code: 'environment_broken', message } }])
    expect(generations).toEqual([])
  })

  it.each([
    [
      'the database has the image no longer',
      async () => undefined,
      'is not in the database any more',
    ],
    [
      'the image is another one',
      async () => Buffer.from('other'),
      'is not the one that was submitted',
    ],
    ['the image cannot be read', async () => Promise.reject(new Error('a bug')), 'a bug'],
  ])('fails when %s, and leaves nothing on the disk', async (_, fetchImage, message) => {
    const { start, generations, path } = aNode(fetchImage)
    const { results } = start()
    await expect.poll(() => results).toHaveLength(1)
    const failure = { code: 'generation_failed', message: expect.stringContaining(message) }
    expect(results).toEqual([{ how: 'failed', failure }])
    expect(generations).toEqual([])
    expect(existsSync(dirname(path))).toBe(false)
  })

  it('fails as by the environment when the disk is full', async () => {
    const full = Object.assign(new Error('write failed'), { code: 'ENOSPC' })
    const { start } = aNode(async () => Promise.reject(full))
    const { results } = start()
    await expect.poll(() => results).toMatchObject([{ failure: { code: 'disk_full' } }])
  })

  it.each([
    ['is fetched', () => new Promise<Buffer>(() => {})],
    ['is waited for', async () => Promise.reject(unreachable)],
  ])('never begins when it is stopped while the image %s', async (_, fetchImage) => {
    const { start, generations, fetched } = aNode(fetchImage, { retryMs: 60_000 })
    const { handle, results } = start()
    await expect.poll(() => fetched).toHaveLength(1)
    handle.stop('canceled', 1_000)
    handle.stop('canceled', 1_000)
    await expect.poll(() => results).toEqual([{ how: 'neverBegan' }])
    handle.detach()
    expect(generations).toEqual([])
  })

  it('that is stopped while the image is written ends after the write', async () => {
    const { start, generations, path } = aNode(async () => picture)
    const { handle, results } = start()
    // The write has begun, and takes more turns of the event loop than this one.
    await turnOfEventLoop()
    handle.stop('canceled', 1_000)
    await expect.poll(() => results).toHaveLength(1)
    expect(results).toEqual([{ how: 'neverBegan' }])
    expect(readFileSync(path)).toEqual(picture)
    expect(generations).toEqual([])
  })

  it('is not started, and reports nothing, when it is detached before its image is there', async () => {
    const image = Promise.withResolvers<Buffer>()
    const { start, generations, path } = aNode(() => image.promise)
    const stopped = start()
    stopped.handle.stop('canceled', 1_000)
    stopped.handle.detach()
    const { handle, results } = start()
    handle.detach()
    image.resolve(picture)
    const next = start()
    await expect.poll(() => generations).toHaveLength(1)
    expect(generations[0]?.observer).toBe(next.observer)
    expect([...results, ...stopped.results]).toEqual([])
    expect(existsSync(path)).toBe(true)
  })

  it('is stopped and detached as others are once it has started', async () => {
    const { start, generations } = aNode(async () => picture)
    const { handle } = start()
    await expect.poll(() => generations).toHaveLength(1)
    handle.stop('timeout', 500)
    handle.detach()
    expect(generations[0]?.stops).toEqual([{ reason: 'timeout', graceMs: 500 }])
    expect(generations[0]?.isDetached()).toBe(true)
  })
})

const picture = Buffer.from('a picture')

const request: VideoRequest = {
  ...aRequest(),
  image: {
    ...{ type: 'png', width: 64, height: 64, bytes: picture.length },
    sha256: createHash('sha256').update(picture).digest('hex'),
  },
}

const order = { jobId: jobId(1), epoch: 1, request }

const unreachable = new DatabaseUnreachableError('PostgreSQL cannot be used')

function aNode(
  fetchImage: (part: number) => Promise<Buffer | undefined>,
  { retryMs = 1, maxWaitMs = 60_000 } = {},
) {
  const workDir = mkdtempSync(join(tmpdir(), 'fetched-image-'))
  onTestFinished(() => rmSync(workDir, { recursive: true, force: true }))
  const { runner: inner, generations: immediate } = createFakeRunner()
  const { runner: late, generations } = createFakeRunner()
  const fetched: { id: JobId; part: number }[] = []
  const warnings: string[] = []
  const quiet = () => {}
  const runner = withFetchedImage(inner, {
    data: { workDir },
    startLate: late.start,
    fetchImagePart(id, part) {
      fetched.push({ id, part })
      return fetchImage(part)
    },
    log: { debug: quiet, info: quiet, warn: (_, phrase) => warnings.push(phrase), error: quiet },
    retryMs,
    maxWaitMs,
  })
  const begin =
    (how: 'start' | 'adopt') =>
    ({ order: given = order } = {}) => {
      const results: GenerationResult[] = []
      const observer = {
        started() {},
        reported() {},
        ended: (result: GenerationResult) => void results.push(result),
      }
      return { handle: runner[how](given, observer), observer, results }
    }
  const path = imageOf({ workDir }, jobId(1))
  return {
    start: begin('start'),
    adopt: begin('adopt'),
    /** Those whose image had to be fetched. */
    generations,
    /** Those that were started or adopted without a wait. */
    immediate,
    fetched,
    warnings,
    path,
  }
}
