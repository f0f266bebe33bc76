import { type Kysely, sql } from 'kysely'
import type { JobId } from '../../../domain/job.ts'
import type { Database } from '../schema.ts'
import { transact } from '../transact.ts'

/**
 * Longest part of an image. It travels as text of twice the length, which a line of 0.5 Mbit/s carries within the time
 * limit of a query.
 */
export const maxPartBytes = 256 * 1024

export type ImageStore = {
  /**
   * Stores an image part by part. It is as durable as the next commit of this leader. After a failure some parts may be
   * stored.
   */
  keep(jobId: JobId, parts: Iterable<Buffer> | AsyncIterable<Buffer>): Promise<void>
  /** Parts are numbered from 0. Undefined behind the last one. */
  read(jobId: JobId, part: number): Promise<Buffer | undefined>
  remove(jobIds: readonly JobId[]): Promise<void>
  /** Jobs of which an image is stored, or the beginning of one. */
  jobs(): Promise<readonly JobId[]>
  /**
   * Removes images without an open job, and resolves with the number of their parts. Only before the first submission of
   * a term: an image is stored before its job is.
   */
  removeOrphans(): Promise<number>
}

/** Images of open jobs, so that any node can run them, and a confirmed job survives the loss of a machine. */
export function createImageStore(db: Kysely<Database>, term: number): ImageStore {
  return {
    async keep(jobId, parts) {
      let part = 0
      for await (const bytes of parts) await putPart({ jobId, part: part++, bytes })
    },

    read: (jobId, part) => readImagePart(db, jobId, part),

    remove: (jobIds) =>
      transact(db, async (connection) => {
        await connection.deleteFrom('image').where('job_id', 'in', jobIds).execute()
      }),

    async jobs() {
      const rows = await db.selectFrom('image').select('job_id').where('part', '=', 0).execute()
      return rows.map(({ job_id }) => job_id)
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

  /**
   * The fence is in the statement, and not in a transaction around it: the server takes the lock of the leader when it has
   * the whole statement. So beats, elections and commits never wait for the line of an upload. It is a beat as well: on a
   * slow disk, these statements hold the row for most of the time.
   */
  async function putPart({ jobId, part, bytes }: ImagePart): Promise<void> {
    const { numAffectedRows } = await sql`
      with fence as (update leader set beat = beat + 1 where term = ${term} returning 1)
      insert into image (job_id, part, bytes)
      select cast(${jobId} as text), cast(${part} as integer), cast(${bytes} as bytea) from fence
      on conflict (job_id, part) do update set bytes = excluded.bytes
    `.execute(db)
    if (numAffectedRows === 1n) return
    // Reports that the term is over.
    await transact(db, async () => {})
    throw new Error('a part of an image was not stored')
  }
}

export async function readImagePart(
  db: Kysely<Database>,
  jobId: JobId,
  part: number,
): Promise<Buffer | undefined> {
  const row = await db
    .selectFrom('image')
    .select('bytes')
    .where('job_id', '=', jobId)
    .where('part', '=', part)
    .executeTakeFirst()
  return row?.bytes
}

type ImagePart = Readonly<{ jobId: JobId; part: number; bytes: Buffer }>

/** Parts of a transaction. */
export async function putImage(
  connection: Kysely<Database>,
  jobId: JobId,
  image: Buffer,
): Promise<void> {
  await connection.deleteFrom('image').where('job_id', '=', jobId).execute()
  for (const [part, bytes] of partsOf(image).entries()) {
    await connection.insertInto('image').values({ job_id: jobId, part, bytes }).execute()
  }
}

export const partsOf = (image: Buffer): readonly Buffer[] =>
  Array.from({ length: Math.ceil(image.length / maxPartBytes) }, (_, part) =>
    image.subarray(part * maxPartBytes, (part + 1) * maxPartBytes),
  )
