/** What each operation of the archive changes in the database. */
import type { Kysely } from 'kysely'
import type { ArchiveOperation } from '../../actors/archive/archive-ports.ts'
import type { Database } from './schema.ts'

export async function applyToArchive(
  trx: Kysely<Database>,
  operation: ArchiveOperation,
): Promise<void> {
  if (operation.op === 'forgetTombstones') return forgetTombstones(trx, operation)
  const { jobId, at } = operation
  switch (operation.op) {
    case 'forgetVideo':
      await trx.updateTable('job').set({ file_deleted_at: at }).where('id', '=', jobId).execute()
      break
    case 'remove':
    case 'expire': {
      const { numUpdatedRows } = await trx
        .updateTable('job')
        .set({
          deleted_at: at,
          ...(operation.op === 'expire' && { expired_at: at }),
          file_deleted_at: at,
          prompt: '',
          prompt_digest: '',
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
