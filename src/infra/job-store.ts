import { createHash } from 'node:crypto'
import { type Insertable, type Kysely, type Selectable, sql, type Updateable } from 'kysely'
import type {
  AttemptHistory,
  EstimateLog,
  JobOperation,
  JobStore,
  PastAttempt,
  StoreOperation,
} from '../actors/ports.ts'
import type { Scope } from '../client.ts'
import { DiskFullError } from '../errors.ts'
import type {
  Attempt,
  Failure,
  GpuHealth,
  GpuId,
  InputImage,
  Job,
  JobState,
  JobStatus,
  Trace,
  VideoFacts,
} from '../job.ts'
import { type Database, isDiskFull, isWriteError, transact } from './database.ts'
import type { Reserve } from './reserve.ts'
import { webhookRow, writeDeliveries } from './webhook-store.ts'

/** Jobs at rest: the only module that knows what a job looks like in SQL. */
export function createJobStore(
  db: Kysely<Database>,
  {
    reserve,
    setting = { task: 'ti2v-5B', gpuModels: new Map() },
  }: Readonly<{ reserve?: Pick<Reserve, 'release' | 'isDiskFull'>; setting?: Setting }> = {},
): JobStore & AttemptHistory & EstimateLog {
  const owned = (scope: Scope) => {
    const all = db.selectFrom('job')
    if (scope === 'everything') return all
    return 'owner' in scope
      ? all.where('owner', '=', scope.owner)
      : all.where('id', '=', scope.jobId)
  }
  const jobs = (scope: Scope) => owned(scope).selectAll().where('deleted_at', 'is', null)
  /** SQLite does not always find the right word for it. */
  const lacksRoom = (error: unknown) =>
    isDiskFull(error) || (isWriteError(error) && reserve?.isDiskFull() === true)

  return {
    async load(submittedSince) {
      const [waiting, running, gpus, submitted, last] = await Promise.all([
        jobs('everything').where('status', '=', 'queued').orderBy('seq').execute(),
        jobs('everything').where('status', '=', 'running').orderBy('seq').execute(),
        db.selectFrom('gpu').selectAll().execute(),
        db
          .selectFrom('job')
          .select(({ fn }) => [fn.coalesce('owner', 'address').as('by'), 'submitted_at as at'])
          .where('submitted_at', '>', submittedSince)
          .orderBy('seq')
          .execute(),
        db
          .selectFrom('job')
          .select(({ fn }) => fn.max('seq').as('seq'))
          .executeTakeFirst(),
      ])
      return {
        nextSeq: (last?.seq ?? 0) + 1,
        waiting: waiting.map(toJob),
        running: running.map(toJob),
        gpus: new Map(gpus.map(({ id, health }) => [id, JSON.parse(health) as GpuHealth])),
        // Neither is known of jobs that are older than both.
        submissions: submitted.flatMap(({ by, at }) => (by === null ? [] : [{ by, at }])),
      }
    },

    async commit(operations) {
      const write = () =>
        transact(db, async (connection) => {
          for (const operation of operations) await apply(connection, operation, setting)
        })
      try {
        await write().catch((error: unknown) => {
          if (!lacksRoom(error) || operations.every(canWait) || !reserve?.release()) throw error
          return write()
        })
      } catch (error) {
        if (!lacksRoom(error)) throw error
        throw new DiskFullError('the database has no room to write', { cause: error })
      }
    },

    async find(jobId, scope) {
      const row = await jobs(scope).where('id', '=', jobId).executeTakeFirst()
      return row && toJob(row)
    },

    async findMany(jobIds, scope) {
      const rows = await jobs(scope).where('id', 'in', jobIds).execute()
      return rows.map(toJob)
    },

    async attempts(jobId) {
      const rows = await db
        .selectFrom('attempt')
        .selectAll()
        .where('job_id', '=', jobId)
        .orderBy('epoch')
        .execute()
      return rows.map(toAttempt)
    },

    async list(filter, scope) {
      const { status, order, limit, after, prompt, submittedAfter, submittedBefore } = filter
      let query = jobs(scope)
        .orderBy('seq', order)
        .limit(limit + 1)
      if (status) query = query.where('status', 'in', status)
      if (filter.withVideo)
        query = query.where('status', '=', 'success').where('file_deleted_at', 'is', null)
      if (prompt !== undefined) {
        query = query.where('prompt_digest', '=', digest(prompt)).where('prompt', '=', prompt)
      }
      if (submittedAfter !== undefined) query = query.where('submitted_at', '>', submittedAfter)
      if (submittedBefore !== undefined) query = query.where('submitted_at', '<', submittedBefore)
      if (after) {
        // It may be deleted by now, and its place is still known.
        const seqOfAfter = owned(scope).select('seq').where('id', '=', after)
        query = query.where('seq', order === 'asc' ? '>' : '<', seqOfAfter)
      }
      const rows = await query.execute()
      return { jobs: rows.slice(0, limit).map(toJob), hasMore: rows.length > limit }
    },

    async findSubmission({ caller, key, fingerprint }, since) {
      const own = db
        .selectFrom('submission')
        .select(['job_id as jobId', 'fingerprint'])
        .where('caller', '=', caller)
        .where('at', '>', since)
        .orderBy('at', 'desc')
      return key === undefined
        ? own.where('fingerprint', '=', fingerprint).executeTakeFirst()
        : own.where('key', '=', key).executeTakeFirst()
    },

    async lookup(prompt, limit, scope) {
      const rows = await jobs(scope)
        .where('prompt_digest', '=', digest(prompt))
        .where('prompt', '=', prompt)
        .orderBy('seq', 'desc')
        .limit(limit)
        .execute()
      return rows.map(toJob)
    },

    async videos(selection, scope) {
      const present = jobs(scope)
        .where('status', '=', 'success')
        .where('file_deleted_at', 'is', null)
        .orderBy('seq')
      const rows = await ('ids' in selection
        ? present.where('id', 'in', selection.ids)
        : 'filenames' in selection
          ? present.where('filename', 'in', selection.filenames)
          : present.where('status', 'in', selection.status)
      ).execute()
      return rows.map(toJob)
    },

    async isNamePromised(filename) {
      const row = await db
        .selectFrom('job')
        .select('id')
        .where('filename', '=', filename)
        .where('file_deleted_at', 'is', null)
        .where('status', 'in', ['queued', 'running', 'success'])
        .executeTakeFirst()
      return row !== undefined
    },

    async recent(perGpu) {
      const latest = db
        .selectFrom('attempt')
        .where('outcome', '=', 'success')
        .where((is) => is.or([is('task', '=', setting.task), is('task', 'is', null)]))
        .select(['job_id', 'epoch'])
        .select(sql<number>`row_number() over (partition by gpu order by ended_at desc)`.as('age'))
        .as('latest')
      const rows = await db
        .selectFrom(latest)
        .innerJoin('attempt', (on) =>
          on
            .onRef('attempt.job_id', '=', 'latest.job_id')
            .onRef('attempt.epoch', '=', 'latest.epoch'),
        )
        .innerJoin('job', 'job.id', 'attempt.job_id')
        .where('latest.age', '<=', perGpu)
        .orderBy('attempt.ended_at')
        .select(['attempt.gpu', 'gpu_model', 'size', 'frames', 'steps', 'trace'])
        .select(['attempt.claimed_at', 'attempt.generated_at', 'attempt.ended_at'])
        .execute()
      return rows.map(toPastAttempt)
    },

    async record(estimates) {
      const rows = estimates.map(({ jobId, ...estimate }) => ({ job_id: jobId, ...estimate }))
      await transact(db, async (connection) => {
        for (const row of rows) {
          await connection
            .insertInto('estimate')
            .values(row)
            .onConflict((conflict) => conflict.doNothing())
            .execute()
        }
      })
    },

    async outcomes(limit) {
      const rows = await db
        .selectFrom('estimate')
        .innerJoin('job', 'job.id', 'estimate.job_id')
        .where('job.status', '=', 'success')
        .where('job.attempts', '=', 1)
        .orderBy('job.ended_at', 'desc')
        .limit(limit)
        .selectAll('estimate')
        .select(['job.gpu', 'job.ended_at'])
        .execute()
      return rows
        .flatMap(({ job_id: jobId, gpu, ended_at, ...estimate }) =>
          gpu === null || ended_at === null
            ? []
            : [{ ...estimate, jobId, gpu, actual: (ended_at - estimate.at) / 1000 }],
        )
        .reverse()
    },
  }
}

/** What this service runs, and on which GPUs: written beside each attempt. */
export type Setting = Readonly<{
  task: string
  gpuModels: ReadonlyMap<GpuId, string | undefined>
}>

/** What nobody has been promised yet and nothing has begun on: it is not worth the reserve. */
const canWait = ({ op }: StoreOperation): boolean =>
  op === 'submit' || op === 'remember' || op === 'claim'

/** The database refused a change because the record is not in the state the change rests on. */
export class StaleOperationError extends Error {
  override readonly name = 'StaleOperationError'
}

async function apply(
  trx: Kysely<Database>,
  operation: StoreOperation,
  setting: Setting,
): Promise<void> {
  if (operation.op !== 'setGpuHealth') return applyToJob(trx, operation, setting)
  const { gpu: id } = operation
  const health = JSON.stringify(operation.health)
  await trx
    .insertInto('gpu')
    .values({ id, health })
    .onConflict((conflict) => conflict.column('id').doUpdateSet({ health }))
    .execute()
}

async function applyToJob(
  trx: Kysely<Database>,
  operation: JobOperation,
  { task, gpuModels }: Setting,
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
      await trx.insertInto('job').values(toRow(operation)).execute()
      if (operation.webhook) {
        await trx.insertInto('webhook').values(webhookRow(operation.webhook)).execute()
      }
      break
    case 'remember': {
      const { caller, key, fingerprint } = operation.identity
      await trx.deleteFrom('submission').where('at', '<=', operation.keepSince).execute()
      const row = { job_id: jobId, caller, key: key ?? null, fingerprint, at }
      await trx.insertInto('submission').values(row).execute()
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
      const gpu_model = gpuModels.get(gpu) ?? null
      const row = { job_id: jobId, epoch, number: attempt, gpu, claimed_at: at, task, gpu_model }
      await trx.insertInto('attempt').values(row).execute()
      break
    }
    case 'began':
      await jobRow(operation.epoch, { started_at: at })
      await attemptRow(operation.epoch, { started_at: at })
      break
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
      await trx
        .updateTable('job')
        .set({
          deleted_at: at,
          file_deleted_at: at,
          prompt: '',
          prompt_digest: '',
          image: null,
          failure: null,
        })
        .where('id', '=', jobId)
        .where('status', 'in', ['success', 'error', 'canceled'])
        .execute()
      break
    default:
      operation satisfies never
  }
}

const traceColumn = ({ trace }: { trace?: Trace }) =>
  trace ? { trace: JSON.stringify(trace) } : {}

function toRow({
  jobId,
  seq,
  request,
  owner,
  address,
  at,
}: Extract<JobOperation, { op: 'submit' }>): Insertable<Database['job']> {
  const { prompt, size, frames, steps, guidance, shift, seed, image, remixOf, filename } = request
  return {
    seq,
    id: jobId,
    prompt,
    prompt_digest: digest(prompt),
    size,
    frames,
    steps,
    guidance: guidance ?? null,
    shift: shift ?? null,
    seed,
    image: image ? JSON.stringify(image) : null,
    remix_of: remixOf ?? null,
    requested_filename: filename ?? null,
    filename: filename ?? null,
    submitted_at: at,
    owner,
    address,
    status: 'queued',
    epoch: 0,
    attempts: 0,
  }
}

const digest = (prompt: string): string =>
  createHash('sha256').update(prompt).digest('base64url').slice(0, 16)

function toJob(row: Selectable<Database['job']>): Job {
  const { prompt, size, frames, steps, guidance, shift, seed, image, remix_of: remixOf } = row
  const { requested_filename: filename } = row
  return {
    id: row.id,
    seq: row.seq,
    request: {
      prompt,
      size,
      frames,
      steps,
      seed,
      ...(guidance !== null && { guidance }),
      ...(shift !== null && { shift }),
      ...(image !== null && { image: JSON.parse(image) as InputImage }),
      ...(remixOf !== null && { remixOf }),
      ...(filename !== null && { filename }),
    },
    owner: row.owner,
    submittedAt: row.submitted_at,
    epoch: row.epoch,
    attempts: row.attempts,
    state: toState(row),
  }
}

function toState(row: Selectable<Database['job']>): JobState {
  const { gpu, filename, claimed_at: claimedAt, started_at: startedAt, ended_at: endedAt } = row
  const where = { ...(gpu !== null && { gpu }), ...(startedAt !== null && { startedAt }) }
  switch (row.status) {
    case 'queued':
      return { status: 'queued' }
    case 'running':
      return {
        status: 'running',
        phase: known(row, 'phase'),
        gpu: known(row, 'gpu'),
        filename: known(row, 'filename'),
        claimedAt: known(row, 'claimed_at'),
        ...(startedAt !== null && { startedAt }),
        ...(row.generated_at !== null && { generatedAt: row.generated_at }),
        cancelRequested: row.cancel_requested_at !== null,
      }
    case 'success':
      return {
        status: 'success',
        gpu: known(row, 'gpu'),
        filename: filename ?? known(row, 'filename'),
        startedAt: startedAt ?? claimedAt ?? known(row, 'claimed_at'),
        endedAt: known(row, 'ended_at'),
        video: JSON.parse(known(row, 'video')) as VideoFacts,
        ...(row.file_deleted_at !== null && { fileDeletedAt: row.file_deleted_at }),
      }
    case 'error':
      return {
        status: 'error',
        failure: JSON.parse(known(row, 'failure')) as Failure,
        ...where,
        endedAt: endedAt ?? known(row, 'ended_at'),
      }
    case 'canceled':
      return {
        status: 'canceled',
        ...where,
        endedAt: endedAt ?? known(row, 'ended_at'),
        ...(row.cancel_requested_at !== null && { cancelRequestedAt: row.cancel_requested_at }),
      }
  }
}

/** A column that the row's status promises to be there. */
function known<Key extends keyof Selectable<Database['job']>>(
  row: Selectable<Database['job']>,
  column: Key,
): NonNullable<Selectable<Database['job']>[Key]> {
  const value = row[column]
  if (value !== null) return value as NonNullable<typeof value>
  throw new Error(`job ${row.id} is ${row.status} but has no ${column}`)
}

function toAttempt(row: Selectable<Database['attempt']>): Attempt {
  const { started_at, generated_at, ended_at, outcome, failure, trace } = row
  return {
    epoch: row.epoch,
    number: row.number,
    gpu: row.gpu,
    claimedAt: row.claimed_at,
    ...(started_at !== null && { startedAt: started_at }),
    ...(generated_at !== null && { generatedAt: generated_at }),
    ...(ended_at !== null && { endedAt: ended_at }),
    ...(outcome !== null && { outcome }),
    ...(failure !== null && { failure: JSON.parse(failure) as Failure }),
    ...(trace !== null && { trace: JSON.parse(trace) as Trace }),
  }
}

type PastRow = Pick<
  Selectable<Database['attempt'] & Database['job']>,
  'gpu_model' | 'size' | 'frames' | 'steps' | 'trace' | 'claimed_at' | 'generated_at' | 'ended_at'
> & { gpu: GpuId }

function toPastAttempt(row: PastRow): PastAttempt {
  const { gpu, gpu_model: gpuModel, size, frames, steps } = row
  const [claimedAt, endedAt] = [row.claimed_at ?? 0, row.ended_at ?? 0]
  const { began } = JSON.parse(row.trace ?? '{}') as Trace
  return {
    gpu,
    ...(gpuModel !== null && { gpuModel }),
    shape: { size, frames, steps },
    claimedAt,
    generatedAt: row.generated_at ?? endedAt,
    endedAt,
    ...(began && { began }),
  }
}
