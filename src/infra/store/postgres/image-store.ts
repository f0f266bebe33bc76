import type { Kysely } from 'kysely'
import type { JobId } from '../../../domain/job.ts'
import type { Database } from '../schema.ts'
import { transact } from '../transact.ts'

export type ImageStore = {
  /** Durable when it resolves. */
  keep(jobId: JobId, bytes: Buffer): Promise<void>
  read(jobId: JobId): Promise<Buffer | undefined>
  remove(jobId: JobId): Promise<void>
  /**
   * Removes images without an open job, and resolves with their number. Only before the first submission of a term:
   * an image is stored before its job is.
   */
  removeOrphans(): Promise<number>
}

/** Images of open jobs, so that any node can run them, and a confirmed job survives the loss of a machine. */
export function createImageStore(db: Kysely<Database>): ImageStore {
  const named = (jobId: JobId) => db.selectFrom('image').where('job_id', '=', jobId)
  return {
    keep: (jobId, bytes) => transact(db, (connection) => putImage(connection, jobId, bytes)),

    async read(jobId) {
      const row = await named(jobId).select('bytes').executeTakeFirst()
      return row?.bytes
    },

    /** Most jobs have no image: a look does not wait for the fence, as a change does. */
    async remove(jobId) {
      if (!(await named(jobId).select('job_id').executeTakeFirst())) return
      await transact(db, async (connection) => {
        await connection.deleteFrom('image').where('job_id', '=', jobId).execute()
      })
    },

    removeOrphans: () =>
      transact(db, async (connection) => {
        const open = connection
          .selectFrom('job')
          .select('id')
          .where('status', 'in', ['queued', 'running'])
          .where('deleted_at', 'is', null)
        const { numDeletedRows } = await connection
          .deleteFrom('image')
          .where('job_id', 'not in', open)
          .executeTakeFirstOrThrow()
        return Number(numDeletedRows)
      }),
  }
}

/** Part of a transaction. */
export async function putImage(
  connection: Kysely<Database>,
  jobId: JobId,
  bytes: Buffer,
): Promise<void> {
  await connection
    .insertInto('image')
    .values({ job_id: jobId, bytes })
    .onConflict((conflict) => conflict.column('job_id').doUpdateSet({ bytes }))
    .execute()
}
