import type { Kysely } from 'kysely'
import type { FinishedStatus, RetentionStore } from '../../actors/janitor/janitor-ports.ts'
import { noteClock } from './clock-store.ts'
import { dialectOf } from './dialect.ts'
import type { Database } from './schema.ts'

/** Jobs that are over, in the order in which they go; each answer takes a bounded time. */
export function createRetentionStore(db: Kysely<Database>): RetentionStore {
  const { unindexed } = dialectOf(db)
  const finished = db
    .selectFrom('job')
    .where('ended_at', 'is not', null)
    .where('deleted_at', 'is', null)
    .where('pinned_at', 'is', null)

  return {
    async latestEnd() {
      const latest = await finished
        .select(({ fn }) => fn.max('ended_at').as('at'))
        .executeTakeFirst()
      return latest?.at ?? undefined
    },

    noteClock: (hold) => noteClock(db, hold),

    async videoBytes(away) {
      let query = db
        .selectFrom('job')
        .select(({ fn }) => fn.sum<number | null>('file_bytes').as('bytes'))
        .where('file_bytes', 'is not', null)
      // Otherwise the index alone answers.
      if (away.length > 0) query = query.where('gpu', 'not in', away)
      const { bytes } = await query.executeTakeFirstOrThrow()
      return bytes ?? 0
    },

    async finished({ limit, after, endedBefore, status, withVideo, away = [] }) {
      let query = finished
        .select(['id', 'seq', 'ended_at', 'file_bytes'])
        .select(({ exists, selectFrom }) =>
          exists(
            selectFrom('delivery')
              .select('delivery.seq')
              .whereRef('delivery.job_id', '=', 'job.id')
              .where('delivery.status', '=', 'pending'),
          ).as('is_awaited'),
        )
        .orderBy('ended_at')
        .orderBy('seq')
        .limit(limit)
      if (after) {
        query = query.where(({ eb, refTuple, tuple }) =>
          eb(refTuple('ended_at', 'seq'), '>', tuple(after.endedAt, after.seq)),
        )
      }
      if (endedBefore !== undefined) query = query.where('ended_at', '<', endedBefore)
      // Otherwise SQLite goes by the index of statuses, and sorts all that it finds.
      if (status) query = query.where(unindexed<FinishedStatus>('status'), 'in', status)
      if (withVideo) query = query.where('file_bytes', 'is not', null)
      if (away.length > 0) {
        query = query.where(({ or, and, eb }) =>
          or([
            eb('gpu', 'is', null),
            eb('gpu', 'not in', away),
            // A file that was lost is looked for once more before its job expires.
            and([eb('file_bytes', 'is', null), eb('file_lost', 'is', null)]),
          ]),
        )
      }
      const rows = await query.execute()
      return rows.map(({ id, seq, ended_at, file_bytes, is_awaited }) => ({
        jobId: id,
        seq,
        endedAt: ended_at ?? 0,
        bytes: file_bytes ?? 0,
        isAwaited: Boolean(is_awaited),
      }))
    },
  }
}
