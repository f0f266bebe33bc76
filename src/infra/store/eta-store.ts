import { type Kysely, type Selectable, sql } from 'kysely'
import type { AttemptHistory, EstimateLog, PastAttempt } from '../../actors/eta/eta-ports.ts'
import type { GpuId, Trace } from '../../domain/job.ts'
import { dayMs } from '../../domain/time.ts'
import { insertRow, insertRows } from '../fast/insert.ts'
import { isPostgres } from './dialect.ts'
import type { Database } from './schema.ts'
import { transact } from './transact.ts'

/** What estimates are made of: how long attempts at one task took, and how true estimates were. */
export function createEtaStore(
  db: Kysely<Database>,
  { task }: Readonly<{ task: string }>,
): AttemptHistory & EstimateLog {
  return {
    async recent(perGpu) {
      const latest = db
        .selectFrom('attempt')
        .where('outcome', '=', 'success')
        .where((is) => is.or([is('task', '=', task), is('task', 'is', null)]))
        .select(['job_id', 'epoch'])
        .select(ageAmongItsLike.as('age'))
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
        .where(wasTimed)
        .orderBy('attempt.ended_at')
        .select(['attempt.gpu', 'gpu_model', 'size', 'frames', 'steps', 'trace', 'attempt.start'])
        .select(['attempt.claimed_at', 'attempt.generated_at', 'attempt.ended_at'])
        .execute()
      return rows.map(toPastAttempt)
    },

    async record(estimates) {
      const rows = estimates.map(({ jobId, ...estimate }) => ({ job_id: jobId, ...estimate }))
      await transact(db, async (connection) => {
        if (isPostgres(connection)) {
          await insertRows(connection, 'estimate', rows, 'unless it is there')
          return
        }
        for (const row of rows) {
          await insertRow(connection, 'estimate', row, 'unless it is there')
        }
      })
    },

    async outcomes(limit) {
      const rows = await db
        .selectFrom('estimate')
        .innerJoin('job', 'job.id', 'estimate.job_id')
        .where('job.status', '=', 'success')
        .where('job.attempts', '=', 1)
        .whereRef('job.ended_at', '>=', 'estimate.at')
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

/** Cold ones are not forgotten over warm ones. Earlier versions started all cold, and did not say so. */
const ageAmongItsLike = sql<number>`
  row_number() over (partition by gpu, coalesce(start, 'cold') order by ended_at desc)
`

/** The clock was set during other attempts: nobody knows how long they took. */
const wasTimed = sql<boolean>`
  coalesce(attempt.generated_at, attempt.ended_at) between attempt.claimed_at and attempt.ended_at
  and attempt.ended_at - attempt.claimed_at < ${dayMs}
`

type PastRow = Pick<
  Selectable<Database['attempt'] & Database['job']>,
  | 'gpu_model'
  | 'size'
  | 'frames'
  | 'steps'
  | 'trace'
  | 'start'
  | 'claimed_at'
  | 'generated_at'
  | 'ended_at'
> & { gpu: GpuId }

function toPastAttempt(row: PastRow): PastAttempt {
  const { gpu, gpu_model: gpuModel, size, frames, steps, start } = row
  const [claimedAt, endedAt] = [row.claimed_at ?? 0, row.ended_at ?? 0]
  const { began } = JSON.parse(row.trace ?? '{}') as Trace
  return {
    gpu,
    ...(gpuModel !== null && { gpuModel }),
    shape: { size, frames, steps },
    ...(start !== null && { start }),
    claimedAt,
    generatedAt: row.generated_at ?? endedAt,
    endedAt,
    ...(began && { began }),
  }
}
