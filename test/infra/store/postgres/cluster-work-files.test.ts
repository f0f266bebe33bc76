import { writeFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { DatabaseUnreachableError } from '../../../../src/domain/errors.ts'
import type { JobId } from '../../../../src/domain/job.ts'
import { uploadOf } from '../../../../src/infra/disk/data-directory.ts'
import { createClusterWorkFiles } from '../../../../src/infra/store/postgres/cluster-work-files.ts'
import { jobId } from '../../../support/jobs.ts'
import { aDataDirectory } from '../../../support/service.ts'

const jobs = (count: number) => Array.from({ length: count }, (_, index) => jobId(index + 1))

describe('images of jobs that end together', () => {
  it('are removed with fewer queries than jobs, one query at a time', async () => {
    const { files, stored, queries } = workFiles({ withImage: jobs(100) })
    await Promise.all(jobs(100).map(files.discard))
    expect(stored.size).toBe(0)
    expect(queries.count).toBeLessThan(20)
    expect(queries.mostAtOnce).toBe(1)
  })

  it('leave a connection to other reads while images are uploaded', async () => {
    const { files, queries, anUpload } = workFiles({ withImage: jobs(100) })
    const uploads = [201, 202, 203, 204].map((n) => files.keepImage(jobId(n), anUpload()))
    await Promise.all([...uploads, ...jobs(100).map(files.discard)])
    expect(queries.mostAtOnce).toBe(2)
  })

  it('cost no query where the job has none', async () => {
    const { files, stored, queries } = workFiles({ withImage: [jobId(1)] })
    await Promise.all([2, 3, 4].map((n) => files.discard(jobId(n))))
    expect(queries.count).toBe(0)
    await files.discard(jobId(1))
    await files.discard(jobId(1))
    expect(queries.count).toBe(1)
    expect(stored.size).toBe(0)
  })

  it('are removed when they were stored since, also where an upload failed halfway', async () => {
    const { files, stored, anUpload, breakDown, recover } = workFiles({ withImage: [] })
    await files.keepImage(jobId(1), anUpload())
    breakDown()
    await expect(files.keepImage(jobId(2), anUpload())).rejects.toThrow(DatabaseUnreachableError)
    recover()
    expect([...stored]).toEqual([jobId(1), jobId(2)])
    await files.discard(jobId(1))
    expect([...stored]).toEqual([])
  })

  it('are removed later where PostgreSQL did not respond: the next job that ends has it tried again', async () => {
    const { files, stored, breakDown, recover } = workFiles({ withImage: jobs(30) })
    breakDown()
    const ends = await Promise.allSettled(jobs(30).map(files.discard))
    expect(ends.filter(({ status }) => status === 'rejected')).toHaveLength(30)
    expect(stored.size).toBe(30)
    recover()
    for (const n of [101, 102, 103, 104]) await files.discard(jobId(n))
    expect(stored.size).toBe(0)
  })

  it('do not make the end of another job fail', async () => {
    const { files, stored, breakDown } = workFiles({ withImage: [jobId(1)] })
    breakDown()
    await expect(files.discard(jobId(1))).rejects.toThrow(DatabaseUnreachableError)
    await files.discard(jobId(2))
    expect(stored.size).toBe(1)
  })
})

/** Work files over a counted set of images in place of those of the database. */
function workFiles({ withImage }: { withImage: readonly JobId[] }) {
  const stored = new Set(withImage)
  const queries = { count: 0, atOnce: 0, mostAtOnce: 0 }
  let isBroken = false
  const query = async (change: () => void) => {
    queries.count += 1
    queries.atOnce += 1
    queries.mostAtOnce = Math.max(queries.mostAtOnce, queries.atOnce)
    await new Promise(setImmediate)
    queries.atOnce -= 1
    change()
    if (isBroken) throw new DatabaseUnreachableError('PostgreSQL does not respond')
  }
  const workDir = aDataDirectory()
  const data = { workDir }
  const files = createClusterWorkFiles({
    images: {
      keep: (id) => query(() => stored.add(id)),
      remove: (ids) => query(() => isBroken || ids.forEach((id) => void stored.delete(id))),
    },
    ...{ withImage, data, local: { async discard() {} } },
  })
  let uploads = 0
  return {
    ...{ files, stored, queries },
    anUpload() {
      const uploadId = `upload-${++uploads}`
      writeFileSync(uploadOf(data, uploadId), 'image')
      return uploadId
    },
    breakDown() {
      isBroken = true
    },
    recover() {
      isBroken = false
    },
  }
}
