/** What each operation on the store changes in the database. */
import type { Kysely, Updateable } from 'kysely'
import type { JobOperation, StoreOperation } from '../../actors/queue/queue-ports.ts'
import type { GpuId, JobStatus, Trace } from '../../domain/job.ts'
import { insertRow } from '../fast/insert.ts'
import { writeDeliveries } from './job-end-deliveries.ts'
import { toRow } from './job-rows.ts'
import type { Database } from './schema.ts'
import { webhookRow } from './webhook-rows.ts'

/** Facts about this service that are stored with each attempt: the task, and the model of each GPU. */
export type AttemptContext = Readonly<{
  task: string
  gpuModels: ReadonlyMap<GpuId, string | undefined>
}>

/** The database refused a change because the record is not in the state the change rests on. */
export class StaleOperationError extends Error {
  override readonly name = 'StaleOperationError'
}

export async function apply(
  trx: Kysely<Database>,
  operation: StoreOperation,
  context: AttemptContext,
): Promise<void> {
  if (operation.op === 'forgetTombstones') return forgetTombstones(trx, operation)
  if (operation.op !== 'setGpuHealth') return applyToJob(trx, operation, context)
  const { gpu: id } = operation
  const health = JSON.stringify(operation.health)
  await trx
    .insertInto('gpu')
    .values({ id, health })
    .onConflict((conflict) => conflict.column('id').doUpdateSet({ health }))
    .execute()
}

/** Together: to look for them at each submit took longer than the submit. */
export async function forgetSubmissions(
  trx: Kysely<Database>,
  operations: readonly StoreOperation[],
): Promise<void> {
  const since = operations.flatMap((one) => (one.op === 'remember' ? [one.keepSince] : []))
  if (since.length === 0) return
  await trx
    .deleteFrom('submission')
    .where('at', '<=', Math.max(...since))
    .execute()
}

async function applyToJob(
  trx: Kysely<Database>,
  operation: JobOperation,
  { task, gpuModels }: AttemptContext,
): Promise<void> {
  const { jobId, at } = operation
  const attemptRow = (epoch: number, change: Updateable<Database['attempt']>) =>
    trx
      .updateTable('attempt')
      .set(change)
      .where('job_id', '=', jobId)
      .where('epoch', '=', epoch)
      .where('outcome', 'is', null)
      .executeTakeFirst()
  const jobRow = async (
    epoch: number,
    change: Updateable<Database['job']>,
    from: readonly JobStatus[] = ['queued', 'running'],
  ) => {
    const { numUpdatedRows } = await trx
      .updateTable('job')
      .set(change)
      .where('id', '=', jobId)
      .where('epoch', '=', epoch)
      .where('status', 'in', from)
      .executeTakeFirst()
    if (numUpdatedRows === 1n) return
    throw new StaleOperationError(`${operation.op} of ${jobId} at epoch ${epoch} comes too late`)
  }

  switch (operation.op) {
    case 'submit':
      await insertRow(trx, 'job', toRow(operation))
      if (operation.webhook) {
        await trx.insertInto('webhook').values(webhookRow(operation.webhook)).execute()
      }
      break
    case 'remember': {
      const { caller, key, fingerprint } = operation.identity
      const row = { job_id: jobId, caller, key: key ?? null, fingerprint, at }
      await insertRow(trx, 'submission', row)
      break
    }
    case 'claim': {
      const { epoch, attempt, gpu, filename } = operation
      const claimed = {
        status: 'running',
        phase: 'generating',
        epoch,
        attempts: attempt,
        gpu,
        filename,
        claimed_at: at,
        started_at: null,
        generated_at: null,
      } as const
      await jobRow(epoch - 1, claimed, ['queued'])
      const kept = { task, gpu_model: gpuModels.get(gpu) ?? null }
      const row = { job_id: jobId, epoch, number: attempt, gpu, claimed_at: at, ...kept }
      await insertRow(trx, 'attempt', row)
      break
    }
    case 'began': {
      const { epoch, command } = operation
      const started = { started_at: at }
      await jobRow(epoch, started)
      await attemptRow(epoch, {
        ...started,
        ...(command && { command: JSON.stringify(command) }),
      })
      break
    }
    case 'generated':
      await jobRow(operation.epoch, { phase: 'converting', generated_at: at })
      await attemptRow(operation.epoch, { generated_at: at, ...traceColumn(operation) })
      break
    case 'release': {
      const { epoch, attempts } = operation
      const failure = operation.failure ? JSON.stringify(operation.failure) : null
      await jobRow(epoch, {
        status: 'queued',
        attempts,
        phase: null,
        gpu: null,
        claimed_at: null,
        started_at: null,
        generated_at: null,
      })
      // A name that was made for the attempt goes with it; one that was asked for stays.
      await trx
        .updateTable('job')
        .set(({ ref }) => ({ filename: ref('requested_filename') }))
        .where('id', '=', jobId)
        .execute()
      const outcome = failure ? 'error' : 'released'
      await attemptRow(epoch, { outcome, failure, ended_at: at, ...traceColumn(operation) })
      break
    }
    case 'requestCancel':
      await jobRow(operation.epoch, { cancel_requested_at: at })
      break
    case 'finish': {
      const { epoch, outcome } = operation
      const { status } = outcome
      const failure = status === 'error' ? JSON.stringify(outcome.failure) : null
      const video = status === 'success' ? JSON.stringify(outcome.video) : null
      await jobRow(epoch, { status, phase: null, failure, video, ended_at: at })
      await attemptRow(epoch, { outcome: status, failure, ended_at: at, ...traceColumn(operation) })
      await writeDeliveries(trx, jobId, status, at)
      break
    }
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
  { before }: Extract<StoreOperation, { op: 'forgetTombstones' }>,
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

const traceColumn = ({ trace }: { trace?: Trace }) =>
  trace ? { trace: JSON.stringify(trace) } : {}
