import { randomBytes } from 'node:crypto'
import { existsSync, writeFileSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import pg from 'pg'
import { describe, expect, it, onTestFinished } from 'vitest'
import { DatabaseUnreachableError, DiskFullError } from '../../../../src/domain/errors.ts'
import {
  createWorkFiles,
  jobDirectory,
  uploadOf,
} from '../../../../src/infra/disk/data-directory.ts'
import { maxImageBytes } from '../../../../src/infra/media/uploads.ts'
import { createClusterWorkFiles } from '../../../../src/infra/store/postgres/cluster-work-files.ts'
import { TermOverError } from '../../../../src/infra/store/postgres/fence.ts'
import {
  createImageStore,
  type ImageStore,
  maxPartBytes,
} from '../../../../src/infra/store/postgres/image-store.ts'
import { migratePostgres } from '../../../../src/infra/store/postgres/migrate-postgres.ts'
import { openPostgres } from '../../../../src/infra/store/postgres/open-postgres.ts'
import { aSmallDisk, canMount } from '../../../support/disk/small-disk.ts'
import { gpu1, jobId } from '../../../support/jobs.ts'
import { aDataDirectory } from '../../../support/service.ts'
import { aBreakingProxy } from '../../../support/store/breaking-proxy.ts'
import { wholeImage } from '../../../support/store/images.ts'
import { missing, takeTerm, usePostgresServer } from '../../../support/store/postgres-stores.ts'
import { aSlowProxy } from '../../../support/store/slow-proxy.ts'
import { began, claim, finish, submit, success } from '../../../support/store-suites/operations.ts'

describe.skipIf(missing)('images in PostgreSQL', () => {
  const server = usePostgresServer()

  type LeaderOptions = { directory?: string; bytesPerSecond?: number; maxKeepMs?: number }

  async function aLeader({ bytesPerSecond, maxKeepMs, ...options }: LeaderOptions = {}) {
    const direct = await server().createDatabase(options)
    await migratePostgres(direct)
    const line = bytesPerSecond === undefined ? direct : await aSlowProxy(direct, bytesPerSecond)
    const proxy = await aBreakingProxy(line)
    const fence = { term: await takeTerm(direct), onOver() {} }
    const settings = { url: proxy.url, task: 'ti2v-5B', gpuModels: new Map() }
    const { db, jobs, close } = await openPostgres(settings, fence)
    onTestFinished(close)
    const images = createImageStore(db, fence.term)
    const workDir = aDataDirectory()
    const data = { workDir, logsDir: workDir }
    const aSuccessor = async () =>
      createClusterWorkFiles({
        ...{ images, withImage: await images.jobs(), data, local: createWorkFiles(data) },
        ...(maxKeepMs !== undefined && { maxKeepMs }),
      })
    const files = await aSuccessor()
    const anUpload = (uploadId: string, bytes: Buffer) => {
      const path = uploadOf(data, uploadId)
      writeFileSync(path, bytes)
      return path
    }
    const keep = async (...numbers: number[]) => {
      for (const n of numbers) {
        anUpload(`${n}`, Buffer.from('image'))
        await files.keepImage(jobId(n), `${n}`)
      }
    }
    return { direct, proxy, images, files, aSuccessor, data, anUpload, keep, queue: jobs.queue }
  }

  const keptIn = async ({ read }: Pick<ImageStore, 'read'>, ...numbers: number[]) => {
    const found = await Promise.all(numbers.map((n) => read(jobId(n), 0)))
    return numbers.filter((_, position) => found[position] !== undefined)
  }

  it('are stored from an upload byte by byte at the largest size, and the upload is removed', async () => {
    const { images, files, anUpload } = await aLeader()
    const bytes = randomBytes(maxImageBytes)
    const path = anUpload('one', bytes)
    await files.keepImage(jobId(1), 'one')
    expect(bytes.equals(await wholeImage(images.read, jobId(1)))).toBe(true)
    expect(existsSync(path)).toBe(false)
    expect(await images.read(jobId(2), 0)).toBeUndefined()
  })

  it('are removed when their job has ended, with its directory on this node', async () => {
    const { images, files, data, keep } = await aLeader()
    await keep(1, 2)
    await mkdir(join(jobDirectory(data, jobId(1)), '1'), { recursive: true })
    await files.discard(jobId(1))
    expect(await keptIn(images, 1, 2)).toEqual([2])
    expect(existsSync(jobDirectory(data, jobId(1)))).toBe(false)
    await files.discard(jobId(3))
  })

  it('are removed by a later leader too', async () => {
    const { images, keep, aSuccessor } = await aLeader()
    await keep(1, 2, 3)
    const files = await aSuccessor()
    await Promise.all([1, 3].map((n) => files.discard(jobId(n))))
    expect(await keptIn(images, 1, 2, 3)).toEqual([2])
  })

  it('are removed later when PostgreSQL does not respond at the end of their job', async () => {
    const { images, files, proxy, keep } = await aLeader()
    await keep(1, 2, 3)
    proxy.goDown()
    await expect(files.discard(jobId(1))).rejects.toThrow(DatabaseUnreachableError)
    proxy.goUp()
    await files.discard(jobId(2))
    expect(await keptIn(images, 1, 2, 3)).toEqual([3])
  })

  it('that have no open job are removed, and others remain', async () => {
    const { images, queue } = await aLeader()
    for (const n of [1, 2, 3, 4]) await images.keep(jobId(n), [Buffer.from('image')])
    await queue.commit([submit(1), submit(2), submit(3)])
    await queue.commit([claim(2), claim(3, 1, { gpu: gpu1 }), began(3), finish(3, success)])
    expect(await images.removeOrphans()).toBe(2)
    expect(await keptIn(images, 1, 2, 3, 4)).toEqual([1, 2])
  })

  it('are not stored by a leader whose term is over', async () => {
    const { images, files, anUpload, keep, direct } = await aLeader()
    await keep(1)
    await takeTerm(direct)
    anUpload('late', Buffer.from('after'))
    await expect(files.keepImage(jobId(2), 'late')).rejects.toThrow(TermOverError)
    await expect(files.discard(jobId(1))).rejects.toThrow(TermOverError)
    await expect(images.removeOrphans()).rejects.toThrow(TermOverError)
    expect(await keptIn(images, 1, 2)).toEqual([1])
  })

  it('are sent over a slow line while beats, elections and commits go on', async () => {
    const { direct, ...rest } = await aLeader({ bytesPerSecond: 500_000 })
    rest.anUpload('one', randomBytes(1_000_000))
    let isStored = false
    const stored = rest.files.keepImage(jobId(1), 'one').then(() => {
      isStored = true
    })
    const leader = new pg.Client(direct)
    await leader.connect()
    onTestFinished(() => leader.end())
    let slowestMs = 0
    while (!isStored) {
      const since = performance.now()
      await leader.query('update leader set beat = beat + 1')
      slowestMs = Math.max(slowestMs, performance.now() - since)
      await delay(20)
    }
    await stored
    expect(slowestMs).toBeLessThan(1_000)
  })

  it('are given up with a reason when they take too long, and what was stored is removed later', async () => {
    const { images, files, anUpload } = await aLeader({ maxKeepMs: 0 })
    anUpload('one', randomBytes(maxPartBytes))
    await images.keep(jobId(1), [Buffer.from('part')])
    const refused = files.keepImage(jobId(1), 'one')
    await expect(refused).rejects.toThrow(DatabaseUnreachableError)
    await expect(refused).rejects.toThrow('could not be sent to PostgreSQL within 0 s')
    await files.discard(jobId(2))
    expect(await keptIn(images, 1)).toEqual([])
  })

  it.each(['before the commit', 'after the commit'] as const)(
    'are refused when the network breaks %s: nothing of the request is stored',
    async (when) => {
      const { images, files, anUpload, proxy } = await aLeader()
      const path = anUpload('one', Buffer.from('image'))
      proxy.breakNext(when, 'stays down', 'insert into image')
      for (const _ of ['broken', 'down']) {
        const refused = files.keepImage(jobId(1), 'one')
        await expect(refused).rejects.toThrow(DatabaseUnreachableError)
        await expect(refused).rejects.toMatchObject({ mayBeStored: false })
      }
      expect(existsSync(path)).toBe(true)
      proxy.goUp()
      await files.keepImage(jobId(1), 'one')
      expect(await wholeImage(images.read, jobId(1))).toEqual(Buffer.from('image'))
    },
  )

  it.runIf(canMount)('are refused while the disk of the server is full', async () => {
    const disk = aSmallDisk({ mib: 48, files: 10_000 })
    const { images, files, anUpload } = await aLeader({ directory: disk.path })
    anUpload('one', randomBytes(maxImageBytes))
    disk.fill()
    await expect(files.keepImage(jobId(1), 'one')).rejects.toThrow(DiskFullError)
    disk.makeRoom()
    await files.keepImage(jobId(1), 'one')
    expect(await wholeImage(images.read, jobId(1))).toHaveLength(maxImageBytes)
  })
})
