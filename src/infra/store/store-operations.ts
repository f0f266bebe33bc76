/** What each operation on the store changes in the database. */
import type { Kysely, Updateable } from 'kysely'
import type { ArchiveOperation } from '../../actors/archive/archive-ports.ts'
import type { JobOperation, QueueOperation } from '../../actors/queue/queue-ports.ts'
import type { GpuId, JobStatus, Trace } from '../../domain/job.ts'
import { insertRow, insertRows } from '../fast/insert.ts'
import { applyToArchive } from './archive-operations.ts'
import { isPostgres } from './dialect.ts'
import { writeDeliveries } from './job-end-deliveries.ts'
import { toRow } from './job-rows.ts'
import type { Database } from './schema.ts'
import { webhookRow } from './webhook-rows.ts'

/** All changes to jobs, whichever actor makes them. */
export type StoreOperation = QueueOperation | ArchiveOperation

/** Facts about this service that are stored with each attempt: the task, and the model of each GPU. */
export type AttemptContext = Readonly<{
  task: string
  gpuModels: ReadonlyMap<GpuId, string | undefined>
}>

/** The database refused a change because the record is not in the state the change rests on. */
export class StaleOperationError extends Error {
  override readonly name = 'StaleOperationError'
}

/** Applies the operations of one commit. Throws `StaleOperationError`, and then nothing may be stored. */
export async function applyAll(
  trx: Kysely<Database>,
  operations: readonly StoreOperation[],
  context: AttemptContext,
): Promise<void> {
  await forgetSubmissions(trx, operations)
  if (!isPostgres(trx)) {
    for (const operation of operations) await apply(trx, operation, context)
    return
  }
  for (const run of runsOf(operations)) {
    if (run.submits.length > 0) await applySubmits(trx, run)
    else for (const operation of run.others) await apply(trx, operation, context)
  }
}

type Submit = Extract<QueueOperation, { op: 'submit' }>
type Remember = Extract<QueueOperation, { op: 'remember' }>

/** Operations that are applied together, in PostgreSQL alone: submits with what is remembered of them, or others. */
type Run = Readonly<{ submits: Submit[]; remembered: Remember[]; others: StoreOperation[] }>

function runsOf(operations: readonly StoreOperation[]): readonly Run[] {
  const runs: Run[] = []
  for (const operation of operations) {
    const last = runs.at(-1)
    const submitting = last && last.submits.length > 0 ? last : undefined
    if (operation.op === 'submit') {
      if (submitting) submitting.submits.push(operation)
      else runs.push({ submits: [operation], remembered: [], others: [] })
    } else if (operation.op === 'remember' && submitting) {
      submitting.remembered.push(operation)
    } else if (last && !submitting) {
      last.others.push(operation)
    } else {
      runs.push({ submits: [], remembered: [], others: [operation] })
    }
  }
  return runs
}

async function applySubmits(trx: Kysely<Database>, { submits, remembered }: Run): Promise<void> {
  await insertRows(trx, 'job', submits.map(toRow))
  const webhooks = submits.flatMap(({ webhook }) => (webhook ? [webhookRow(webhook)] : []))
  await insertRows(trx, 'webhook', webhooks)
  await insertRows(trx, 'submission', remembered.map(submissionRow))
}

const submissionRow = ({ jobId, at, identity: { caller, key, fingerprint } }: Remember) => ({
  job_id: jobId,
  caller,
  key: key ?? null,
  fingerprint,
  at,
})

async function apply(
  trx: Kysely<Database>,
  operation: StoreOperation,
  context: AttemptContext,
): Promise<void> {
  switch (operation.op) {
    case 'setGpuHealth':
      return setGpuHealth(trx, operation)
    case 'setNodeDrained':
      return setNodeDrained(trx, operation)
    case 'account':
      return account(trx, operation)
    case 'announceRemoval':
    case 'keepVideo':
    case 'forgetVideo':
    case 'loseVideo':
    case 'findVideo':
    case 'remove':
    case 'expire':
    case 'pin':
    case 'forgetTombstones':
      return applyToArchive(trx, operation)
    default:
      return applyToJob(trx, operation, context)
  }
}

async function setGpuHealth(
  trx: Kysely<Database>,
  operation: Extract<QueueOperation, { op: 'setGpuHealth' }>,
): Promise<void> {
  const { gpu: id } = operation
  const health = JSON.stringify(operation.health)
  await trx
    .insertInto('gpu')
    .values({ id, health })
    .onConflict((conflict) => conflict.column('id').doUpdateSet({ health }))
    .execute()
}

async function setNodeDrained(
  trx: Kysely<Database>,
  { node: name, drained }: Extract<QueueOperation, { op: 'setNodeDrained' }>,
): Promise<void> {
  await (drained
    ? trx
        .insertInto('drained_node')
        .values({ name })
        .onConflict((conflict) => conflict.doNothing())
        .execute()
    : trx.deleteFrom('drained_node').where('name', '=', name).execute())
}

async function account(
  trx: Kysely<Database>,
  { attempts, at }: Extract<QueueOperation, { op: 'account' }>,
): Promise<void> {
  for (const { jobId, epoch } of attempts) {
    await trx
      .updateTable('attempt')
      .set({ accounted_at: at })
      .where('job_id', '=', jobId)
      .where('epoch', '=', epoch)
      .execute()
  }
}

/** Together: to look for them at each submit took longer than the submit. */
async function forgetSubmissions(
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
    case 'remember':
      await insertRow(trx, 'submission', submissionRow(operation))
      break
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
      const { epoch, command, start } = operation
      const started = { started_at: at }
      await jobRow(epoch, started)
      await attemptRow(epoch, {
        ...started,
        ...(command && { command: JSON.stringify(command) }),
        ...(start && { start }),
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
    case 'reclaim': {
      const { epoch, attempt, gpu, filename, claimedAt, startedAt = null } = operation
      const claimed = { gpu, filename, claimed_at: claimedAt, started_at: startedAt }
      const running = { status: 'running', phase: 'generating', attempts: attempt } as const
      await jobRow(epoch, { ...running, ...claimed }, ['queued'])
      await trx
        .updateTable('attempt')
        .set({ outcome: null, failure: null, ended_at: null, trace: null })
        .where('job_id', '=', jobId)
        .where('epoch', '=', epoch)
        .execute()
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
    default:
      operation satisfies never
  }
}

const traceColumn = ({ trace }: { trace?: Trace }) =>
  trace ? { trace: JSON.stringify(trace) } : {}
