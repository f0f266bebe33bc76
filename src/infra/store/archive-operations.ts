/** What each operation of the archive changes in the database. */
import { type Kysely, sql } from 'kysely'
import type { ArchiveOperation } from '../../actors/archive/archive-ports.ts'
import type { JobId } from '../../domain/job.ts'
import { dialectOf } from './dialect.ts'
import type { Database } from './schema.ts'

export async function applyToArchive(
  trx: Kysely<Database>,
  operation: ArchiveOperation,
): Promise<void> {
  if (operation.op === 'forgetTombstones') return forgetTombstones(trx, operation)
  const { jobId, at } = operation
  switch (operation.op) {
    case 'announceRemoval':
      await present(trx, jobId).set({ removing: operation.removal }).execute()
      break
    case 'keepVideo':
      await present(trx, jobId).set({ removing: null }).execute()
      break
    case 'forgetVideo':
      await presentOrLost(trx, jobId)
        .set({ removing: null, file_lost: null, file_deleted_at: at })
        .execute()
      break
    case 'loseVideo':
      await loseVideo(trx, operation)
      break
    case 'findVideo':
      await findVideo(trx, jobId)
      break
    case 'remove':
    case 'expire': {
      const { numUpdatedRows } = await trx
        .updateTable('job')
        .set({
          deleted_at: at,
          ...(operation.op === 'expire' && { expired_at: at }),
          file_deleted_at: at,
          file_lost: null,
          removing: null,
          prompt: '',
          prompt_digest: '',
          negative_prompt: null,
          image: null,
          metadata: null,
          failure: null,
        })
        .where('id', '=', jobId)
        .where('deleted_at', 'is', null)
        .where('status', 'in', ['success', 'error', 'canceled'])
        .executeTakeFirst()
      if (numUpdatedRows === 0n) break
      // The prompt is in how a process was called, and may be in what it said last.
      await trx
        .updateTable('attempt')
        .set({ failure: null, command: null })
        .where('job_id', '=', jobId)
        .execute()
      break
    }
    case 'pin':
      await trx
        .updateTable('job')
        .set({ pinned_at: operation.pinned ? at : null })
        .where('id', '=', jobId)
        .where('deleted_at', 'is', null)
        .execute()
      break
    default:
      operation satisfies never
  }
}

/** A finished job whose file has not been deleted. */
const present = (trx: Kysely<Database>, jobId: JobId) =>
  trx
    .updateTable('job')
    .where('id', '=', jobId)
    .where('status', '=', 'success')
    .where('file_deleted_at', 'is', null)

const presentOrLost = (trx: Kysely<Database>, jobId: JobId) =>
  trx
    .updateTable('job')
    .where('id', '=', jobId)
    .where('status', '=', 'success')
    .where('deleted_at', 'is', null)
    .where(({ or, eb }) => or([eb('file_deleted_at', 'is', null), eb('file_lost', 'is not', null)]))

/** Of a file that is lost already, only the reason can change. */
async function loseVideo(
  trx: Kysely<Database>,
  { jobId, loss, at }: Extract<ArchiveOperation, { op: 'loseVideo' }>,
): Promise<void> {
  await presentOrLost(trx, jobId)
    .set(({ fn, val }) => ({
      file_lost: loss,
      removing: null,
      file_deleted_at: fn.coalesce('file_deleted_at', val(at)),
    }))
    .execute()
}

async function findVideo(trx: Kysely<Database>, jobId: JobId): Promise<void> {
  await trx
    .updateTable('job')
    .set({ file_lost: null, file_deleted_at: null })
    .where('id', '=', jobId)
    .where('deleted_at', 'is', null)
    .where('file_lost', 'is not', null)
    .where(({ not, exists, selectFrom }) =>
      not(
        exists(
          selectFrom('job as other')
            .select('other.seq')
            .where(dialectOf(trx).isSameFileName('other.filename', 'job.filename'))
            .where('other.file_deleted_at', 'is', null)
            .where(sql<boolean>`other.status in ('queued', 'running', 'success')`),
        ),
      ),
    )
    .execute()
}

/** Estimates learn from attempts of the latest jobs, whatever has become of those. */
const tombstonesKept = 1_000

/** What is left over goes with the next sweep, seconds later; nothing waits for more than some milliseconds. */
const forgottenAtOnce = 50

async function forgetTombstones(
  trx: Kysely<Database>,
  { before }: Extract<ArchiveOperation, { op: 'forgetTombstones' }>,
): Promise<void> {
  const old = trx
    .selectFrom('job')
    .select('seq')
    .where('deleted_at', '<', before)
    .limit(forgottenAtOnce)
  const newest = trx
    .selectFrom('job')
    .select(({ fn, eb, val }) => eb(fn.max('seq'), '-', val(tombstonesKept)).as('seq'))
  await trx
    .deleteFrom('job')
    .where('seq', 'in', old.where('seq', '<=', newest))
    .execute()
  const nobodys = {
    owner: null,
    address: null,
    filename: null,
    requested_filename: null,
    name_key: null,
    expired_at: null,
  }
  const named = old.where(({ or, eb }) =>
    or([
      eb('owner', 'is not', null),
      eb('filename', 'is not', null),
      eb('expired_at', 'is not', null),
    ]),
  )
  await trx.updateTable('job').set(nobodys).where('seq', 'in', named).execute()
}
