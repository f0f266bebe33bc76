import { randomBytes } from 'node:crypto'
import { describe, expect, it, onTestFinished } from 'vitest'
import { DatabaseUnreachableError } from '../../../../src/domain/errors.ts'
import { putImage } from '../../../../src/infra/store/postgres/image-store.ts'
import { migratePostgres } from '../../../../src/infra/store/postgres/migrate-postgres.ts'
import { openNodeReads } from '../../../../src/infra/store/postgres/open-node-reads.ts'
import { gpu0, gpu1, gpu2, jobId } from '../../../support/jobs.ts'
import { aBreakingProxy } from '../../../support/store/breaking-proxy.ts'
import { wholeImage } from '../../../support/store/images.ts'
import { missing, openStores, usePostgresServer } from '../../../support/store/postgres-stores.ts'
import { aSlowProxy } from '../../../support/store/slow-proxy.ts'
import {
  began,
  claim,
  finish,
  generated,
  made,
  numbersOf,
  remove,
  submit,
  success,
} from '../../../support/store-suites/operations.ts'

describe.skipIf(missing)('a node that does not lead', () => {
  const server = usePostgresServer()

  async function aFollower() {
    const direct = await server().createDatabase()
    await migratePostgres(direct)
    const leader = await openStores(direct)
    onTestFinished(leader.close)
    const proxy = await aBreakingProxy(direct)
    const reads = await openNodeReads(proxy.url)
    onTestFinished(reads.close)
    return { leader, proxy, reads, direct }
  }

  it('reads each job as the leader has written it last, and none that was deleted', async () => {
    const { leader, reads } = await aFollower()
    expect(await reads.find(jobId(1))).toBeUndefined()
    await leader.jobs.commit([submit(1), submit(2)])
    expect(await reads.find(jobId(1))).toMatchObject({ seq: 1, state: { status: 'queued' } })
    await leader.jobs.commit([claim(1), began(1), finish(1, success)])
    expect(await reads.find(jobId(1))).toEqual(await leader.jobs.find(jobId(1), 'everything'))
    await leader.jobs.commit([remove(1)])
    expect(await reads.find(jobId(1))).toBeUndefined()
  })

  it('reads which jobs have a record, open, finished or neither', async () => {
    const { leader, reads } = await aFollower()
    await leader.jobs.commit([...made(1), submit(2), ...made(3), remove(3)])
    const asked = [1, 2, 3, 4].map(jobId)
    expect(await reads.known(asked)).toEqual(new Set([jobId(1), jobId(2)]))
    expect(await reads.known([])).toEqual(new Set())
  })

  it('reads the running jobs of its GPUs, converting ones included, in the order of submission', async () => {
    const { leader, reads } = await aFollower()
    await leader.jobs.commit([1, 2, 3, 4, 5].map((n) => submit(n)))
    await leader.jobs.commit([claim(1), began(1), finish(1, success)])
    await leader.jobs.commit([claim(2), began(2), generated(2), claim(3)])
    await leader.jobs.commit([claim(4, 1, { gpu: gpu1 }), claim(5, 1, { gpu: gpu2 })])
    expect(numbersOf(await reads.openAttemptsOn([gpu1, gpu0]))).toEqual([2, 3, 4])
    expect(await reads.openAttemptsOn([])).toEqual([])
  })

  it('reads a deleted job as long as its remains are there', async () => {
    const { leader, reads } = await aFollower()
    expect(await reads.findEvenDeleted(jobId(1))).toBeUndefined()
    await leader.jobs.commit([submit(1), claim(1), began(1), finish(1, success), remove(1)])
    expect(await reads.findEvenDeleted(jobId(1))).toMatchObject({ epoch: 1 })
  })

  it('knows which names belong to jobs of its GPUs', async () => {
    const { leader, reads } = await aFollower()
    await leader.jobs.commit([1, 2, 3, 4].map((n) => submit(n)))
    await leader.jobs.commit([claim(1), began(1), finish(1, success), remove(1)])
    await leader.jobs.commit([claim(2), began(2), finish(2, success)])
    await leader.jobs.commit([claim(3), claim(4, 1, { gpu: gpu1 })])
    const names = ['video-1.mp4', 'VIDEO-2.mp4', 'video-3.mp4', 'video-4.mp4', 'other.mp4']
    const recorded = await reads.recordedNames(names, [gpu0])
    expect(recorded).toEqual(new Set(['VIDEO-2.mp4', 'video-3.mp4']))
    expect(await reads.recordedNames(names, [gpu2])).toEqual(new Set())
    expect(await reads.recordedNames([], [gpu0])).toEqual(new Set())
  })

  it('reads the image of a job', async () => {
    const { leader, reads } = await aFollower()
    await putImage(leader.db, jobId(1), Buffer.from('image'))
    expect(await reads.readImagePart(jobId(1), 0)).toEqual(Buffer.from('image'))
    expect(await reads.readImagePart(jobId(1), 1)).toBeUndefined()
    expect(await reads.readImagePart(jobId(2), 0)).toBeUndefined()
  })

  it('reads an image over a line on which that takes longer than a query may', async () => {
    const { leader, direct } = await aFollower()
    const image = randomBytes(1_500_000)
    await putImage(leader.db, jobId(1), image)
    // A byte travels as two characters.
    const slow = await openNodeReads(await aSlowProxy(direct, 250_000))
    onTestFinished(slow.close)
    const read = await wholeImage(slow.readImagePart, jobId(1))
    expect(read.equals(image)).toBe(true)
  }, 60_000)

  it('rejects reads while PostgreSQL does not respond, and reads again afterwards', async () => {
    const { leader, reads, proxy } = await aFollower()
    await leader.jobs.commit([submit(1)])
    proxy.goDown()
    await expect(reads.find(jobId(1))).rejects.toThrow(DatabaseUnreachableError)
    await expect(reads.readImagePart(jobId(1), 0)).rejects.toThrow(DatabaseUnreachableError)
    proxy.goUp()
    expect(await reads.find(jobId(1))).toMatchObject({ seq: 1 })
  })
})
