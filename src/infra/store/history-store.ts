import { type Kysely, sql } from 'kysely'
import type { History } from '../../domain/history.ts'
import type { GpuId } from '../../domain/job.ts'
import { dialectOf } from './dialect.ts'
import { loadingCost } from './loading-history.ts'
import type { Database } from './schema.ts'
import { whole } from './whole.ts'

/** The past as the tables of jobs and attempts tell it; it writes nothing. */
export function createHistoryStore(db: Kysely<Database>): History {
  return {
    async load({ from: start, stepMs, steps }) {
      const { least, greatest } = dialectOf(db)
      const [from, to, step] = [whole(start), whole(start + steps * stepMs), whole(stepMs)]
      const since = greatest(sql`claimed_at`, from)
      const last = steps - 1

      // An open job waits unless it has an attempt, so each beginning and end says how many more or
      // fewer wait, and what is so now says how many did before.
      const changes = await sql<{ step: number; change: number }>`
        select ${least(sql`(at - ${from}) / ${step}`, whole(last))} as step, sum(change) as change from (
          select submitted_at as at, 1 as change from job where submitted_at >= ${from}
          union all
          select ended_at, -1 from job where ended_at >= ${from}
          union all
          select claimed_at, -1 from attempt
          where (ended_at >= ${from} or ended_at is null) and claimed_at >= ${from}
          union all
          select ended_at, 1 from attempt where ended_at >= ${from}
        ) as changes group by step
      `.execute(db)
      const [now] = (
        await sql<{ waiting: number }>`
          select (select count(*) from job where status in ('queued', 'running'))
            - (select count(*) from attempt where ended_at is null) as waiting
        `.execute(db)
      ).rows
      const spans = await sql<{ gpu: GpuId; step: number; ms: number }>`
        with recursive part (gpu, step, since, until) as (
          select gpu, (${since} - ${from}) / ${step}, ${since},
            ${least(sql`coalesce(generated_at, ended_at, ${to})`, to)}
          from attempt where ended_at >= ${from} or ended_at is null
          union all
          select gpu, step + 1, ${from} + (step + 1) * ${step}, until
          from part where ${from} + (step + 1) * ${step} < until
        )
        select gpu, step, sum(${least(sql`until`, sql`${from} + (step + 1) * ${step}`)} - since) as ms
        from part where until > since group by gpu, step
      `.execute(db)

      const waiting = new Array<number>(steps).fill(now?.waiting ?? 0)
      for (const { step, change } of changes.rows) {
        for (let earlier = 0; earlier < step; earlier++)
          waiting[earlier] = at(waiting, earlier) - change
      }
      const busy = new Map<GpuId, number[]>()
      for (const { gpu, step, ms } of spans.rows) {
        const shares = busy.get(gpu) ?? new Array<number>(steps).fill(0)
        shares[step] = Math.min(1, ms / stepMs)
        busy.set(gpu, shares)
      }
      return { waiting: waiting.map((count) => Math.max(0, count)), busy }
    },

    loadingCost: (span) => loadingCost(db, span),

    async estimates(limit, scope) {
      let finished = db
        .selectFrom('job')
        .innerJoin('estimate', 'estimate.job_id', 'job.id')
        .where('status', '=', 'success')
        .where('attempts', '=', 1)
        .where('deleted_at', 'is', null)
        .where('checkpoint', '=', 'submit')
        // Not where the clock was set back meanwhile.
        .whereRef('ended_at', '>=', 'at')
      if (scope !== 'everything') {
        finished =
          'owner' in scope
            ? finished.where('owner', '=', scope.owner)
            : finished.where('id', '=', scope.jobId)
      }
      const rows = await finished
        .orderBy('seq', 'desc')
        .limit(limit)
        .select(['id', 'at', 'p10', 'p50', 'p90', 'ended_at'])
        .execute()
      return rows.map(({ id, ended_at, ...told }) => ({
        jobId: id,
        ...told,
        actual: ((ended_at ?? told.at) - told.at) / 1000,
      }))
    },
  }
}

const at = (values: readonly number[], index: number): number => values[index] ?? 0
