/** Records that a node reads for its own generations. Another node leads, and writes them. */
import { HandleEmptyInListsPlugin, Kysely, replaceWithNoncontingentExpression } from 'kysely'
import { nameKey } from '../../../domain/filename.ts'
import type { AttemptKey, GpuId, Job, JobId } from '../../../domain/job.ts'
import { dialectOf } from '../dialect.ts'
import { selectLost } from '../job-reads.ts'
import { toJob } from '../job-rows.ts'
import type { Database } from '../schema.ts'
import { readImagePart } from './image-store.ts'
import { createPool } from './pool.ts'
import { createPostgresDialect } from './postgres-dialect.ts'

/** Few, since there are many nodes. The image of one job is not behind that of another. */
const reads = { max: 2, maxQueryMs: 10_000 }

export type NodeReads = {
  find(jobId: JobId): Promise<Job | undefined>
  /** Also a deleted job, until its remains are forgotten. */
  findEvenDeleted(jobId: JobId): Promise<Job | undefined>
  /** Which of these names belong to videos, or jobs that run, of these GPUs. */
  recordedNames(filenames: readonly string[], gpus: readonly GpuId[]): Promise<ReadonlySet<string>>
  /** Those of these jobs that have a record. */
  known(jobIds: readonly JobId[]): Promise<ReadonlySet<JobId>>
  /** Running jobs on these GPUs, in the order of submission. */
  openAttemptsOn(gpus: readonly GpuId[]): Promise<readonly Job[]>
  gpuOf(attempt: AttemptKey): Promise<GpuId | undefined>
  /** GPUs among these on which a job that has not ended was when its node was lost. */
  gpusWithLostAttempts(gpus: readonly GpuId[]): Promise<readonly GpuId[]>
  /** Parts are numbered from 0. Undefined behind the last one. */
  readImagePart(jobId: JobId, part: number): Promise<Buffer | undefined>
  close(): Promise<void>
}

/** Each read rejects with `DatabaseUnreachableError` while PostgreSQL does not respond. */
export async function openNodeReads(url: string): Promise<NodeReads> {
  const fence = { term: undefined, onOver() {} }
  const db = new Kysely<Database>({
    dialect: createPostgresDialect(await createPool(url, reads), { fence, ...reads }),
    plugins: [new HandleEmptyInListsPlugin({ strategy: replaceWithNoncontingentExpression })],
  })
  const evenDeleted = db.selectFrom('job').selectAll()
  const present = () => db.selectFrom('job').where('deleted_at', 'is', null)
  const jobs = () => present().selectAll()
  const { isFileName } = dialectOf(db)

  return {
    async find(jobId) {
      const row = await jobs().where('id', '=', jobId).executeTakeFirst()
      return row && toJob(row)
    },

    async findEvenDeleted(jobId) {
      const row = await evenDeleted.where('id', '=', jobId).executeTakeFirst()
      return row && toJob(row)
    },

    async recordedNames(filenames, gpus) {
      if (filenames.length === 0) return new Set()
      const rows = await db
        .selectFrom('job')
        .select('filename')
        .where('deleted_at', 'is', null)
        .where(isFileName('filename', filenames))
        .where('status', 'in', ['running', 'success'])
        .where('gpu', 'in', gpus)
        .execute()
      const keys = new Set(rows.map(({ filename }) => nameKey(filename ?? '')))
      return new Set(filenames.filter((filename) => keys.has(nameKey(filename))))
    },

    async known(jobIds) {
      const rows = await present().select('id').where('id', 'in', jobIds).execute()
      return new Set(rows.map(({ id }) => id))
    },

    async openAttemptsOn(gpus) {
      const rows = await jobs()
        .where('status', '=', 'running')
        .where('gpu', 'in', gpus)
        .orderBy('seq')
        .execute()
      return rows.map(toJob)
    },

    async gpuOf({ jobId, epoch }) {
      const row = await db
        .selectFrom('attempt')
        .select('gpu')
        .where('job_id', '=', jobId)
        .where('epoch', '=', epoch)
        .executeTakeFirst()
      return row?.gpu
    },

    async gpusWithLostAttempts(gpus) {
      const rows = await selectLost(db)
        .select('attempt.gpu')
        .where('attempt.gpu', 'in', gpus)
        .execute()
      return [...new Set(rows.map(({ gpu }) => gpu))]
    },

    readImagePart: (jobId, part) => readImagePart(db, jobId, part),
    close: () => db.destroy(),
  }
}
