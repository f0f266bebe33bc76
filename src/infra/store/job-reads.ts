import type { Kysely, NotNull } from 'kysely'
import type { ArchiveStore } from '../../actors/archive/archive-ports.ts'
import type { LostAttempt, QueueStore, StoredWaiting } from '../../actors/queue/queue-ports.ts'
import { covers, type Scope } from '../../domain/client.ts'
import type { GpuHealth, Job, JobId } from '../../domain/job.ts'
import type { JobCache } from '../fast/job-cache.ts'
import { dialectOf } from './dialect.ts'
import { createFileQueries } from './file-queries.ts'
import { groupReads } from './grouped-reads.ts'
import { digest, toAttempt, toJob } from './job-rows.ts'
import type { Database } from './schema.ts'
import { currentSecret } from './webhook-rows.ts'

/** What is read of jobs; commits are made by the store of each database. */
export type JobReads = Omit<QueueStore & ArchiveStore, 'commit'>

/** Jobs at rest, as whoever may see them reads them. */
export function createJobReads(db: Kysely<Database>, cache: JobCache): JobReads {
  const dialect = dialectOf(db)
  const owned = (scope: Scope) => {
    const all = db.selectFrom('job')
    if (scope === 'everything') return all
    return 'owner' in scope
      ? all.where('owner', '=', scope.owner)
      : all.where('id', '=', scope.jobId)
  }
  const jobs = (scope: Scope) => owned(scope).selectAll().where('deleted_at', 'is', null)
  const findMany = async (jobIds: readonly JobId[], scope: Scope): Promise<Job[]> => {
    const rows = await jobs(scope).where('id', 'in', jobIds).orderBy('seq').execute()
    return rows.map(toJob)
  }
  const findOne = groupReads(
    (jobIds: readonly JobId[]) => findMany(jobIds, 'everything'),
    ({ id }) => id,
  )

  return {
    async load(submittedSince) {
      const [waiting, running, gpus, drained, lost, submitted, last] = await Promise.all([
        loadWaiting(db),
        jobs('everything').where('status', '=', 'running').orderBy('seq').execute(),
        db.selectFrom('gpu').selectAll().execute(),
        db.selectFrom('drained_node').selectAll().execute(),
        loadLost(db),
        db
          .selectFrom('submission')
          .innerJoin('job', 'job.id', 'submission.job_id')
          .select(({ fn }) => [fn.coalesce('owner', 'address').as('by'), 'at'])
          .where('at', '>', submittedSince)
          // Neither is known of most jobs where nobody is counted.
          .where(({ fn }) => fn.coalesce('owner', 'address'), 'is not', null)
          .$narrowType<{ by: NotNull }>()
          .orderBy('seq')
          .execute(),
        db
          .selectFrom('job')
          .select(({ fn }) => fn.max('seq').as('seq'))
          .executeTakeFirst(),
      ])
      return {
        nextSeq: (last?.seq ?? 0) + 1,
        waiting,
        running: running.map(toJob),
        gpus: new Map(gpus.map(({ id, health }) => [id, JSON.parse(health) as GpuHealth])),
        drainedNodes: new Set(drained.map(({ name }) => name)),
        lost,
        submissions: submitted,
      }
    },

    async find(jobId, scope) {
      const job = await cache.find(jobId, () => findOne(jobId))
      return job && covers(scope, { jobId, owner: job.owner }) ? job : undefined
    },

    findMany,

    async attempts(jobId) {
      const rows = await db
        .selectFrom('attempt')
        .selectAll()
        .where('job_id', '=', jobId)
        .orderBy('epoch')
        .execute()
      return rows.map(toAttempt)
    },

    async findExpired(which, scope) {
      const expired = owned(scope)
        .select(['id as jobId', 'expired_at as expiredAt'])
        .where('expired_at', 'is not', null)
        .$narrowType<{ expiredAt: NotNull }>()
        .orderBy('expired_at', 'desc')
      return 'jobId' in which
        ? expired.where('id', '=', which.jobId).executeTakeFirst()
        : expired.where(dialect.isFileName('filename', [which.filename])).executeTakeFirst()
    },

    async isAwaited(jobId) {
      const pending = await db
        .selectFrom('delivery')
        .select('id')
        .where('job_id', '=', jobId)
        .where('status', '=', 'pending')
        .executeTakeFirst()
      return pending !== undefined
    },

    async list(filter, scope) {
      const { status, order, limit, after, prompt, promptContains } = filter
      const { submittedAfter, submittedBefore } = filter
      let query = jobs(scope)
        .orderBy('seq', order)
        .limit(limit + 1)
      if (status) query = query.where('status', 'in', status)
      if (filter.withVideo)
        query = query
          .where('status', '=', 'success')
          .where('file_deleted_at', 'is', null)
          .where('removing', 'is', null)
      if (filter.pinned !== undefined)
        query = query.where('pinned_at', filter.pinned ? 'is not' : 'is', null)
      if (prompt !== undefined) {
        query = query.where('prompt_digest', '=', digest(prompt)).where('prompt', '=', prompt)
      }
      if (promptContains !== undefined) {
        query = query.where(dialect.contains('prompt', promptContains))
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

    async findWebhook(jobId) {
      const row = await db
        .selectFrom('webhook')
        .select(['id', 'secrets'])
        .where('job_id', '=', jobId)
        .executeTakeFirst()
      return row && { id: row.id, secret: currentSecret(row) }
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

    ...createFileQueries(db, jobs),
  }
}

const waitingAtOnce = 5_000

/** A part at a time: the memory that all rows take at once would be the process's for good. */
async function loadWaiting(db: Kysely<Database>): Promise<StoredWaiting[]> {
  const waiting: StoredWaiting[] = []
  for (;;) {
    const rows = await db
      .selectFrom('job')
      .select(['id', 'seq', 'owner', 'submitted_at', 'epoch', 'attempts'])
      .select(['size', 'frames', 'steps', 'requested_filename'])
      .where('status', '=', 'queued')
      .where('deleted_at', 'is', null)
      .where('seq', '>', waiting.at(-1)?.seq ?? 0)
      .orderBy('seq')
      .limit(waitingAtOnce)
      .execute()
    for (const { submitted_at: submittedAt, size, frames, steps, ...row } of rows) {
      const { id, seq, owner, epoch, attempts, requested_filename: filename } = row
      const request = { size, frames, steps, ...(filename !== null && { filename }) }
      waiting.push({ id, seq, owner, submittedAt, epoch, attempts, request })
    }
    if (rows.length < waitingAtOnce) return waiting
  }
}

/**
 * Attempts of open jobs that were lost with their node and are not accounted for. By the text of the failure: jobs that
 * wait are many, and few of them have had an attempt.
 */
export const selectLost = (db: Kysely<Database>) =>
  db
    .selectFrom('attempt')
    .innerJoin('job', 'job.id', 'attempt.job_id')
    .where('job.status', 'in', ['queued', 'running'])
    .where('job.epoch', '>', 0)
    .where('outcome', '=', 'error')
    .where('attempt.failure', 'like', '{"code":"node_lost"%')
    .where('accounted_at', 'is', null)

async function loadLost(db: Kysely<Database>): Promise<LostAttempt[]> {
  const rows = await selectLost(db)
    .select(['job_id', 'attempt.epoch', 'attempt.gpu'])
    .select(['attempt.claimed_at', 'attempt.started_at', 'attempt.generated_at'])
    .orderBy('job.seq')
    .orderBy('attempt.epoch')
    .execute()
  return rows.map(({ job_id: jobId, epoch, gpu, claimed_at: claimedAt, ...row }) => ({
    ...{ jobId, epoch, gpu, claimedAt },
    ...(row.started_at !== null && { startedAt: row.started_at }),
    ...(row.generated_at !== null && { generatedAt: row.generated_at }),
  }))
}
