/** GPU time that generations spent on importing and loading, as the table of attempts has it. */
import { type Kysely, type RawBuilder, sql } from 'kysely'
import { weightedMedian } from '../../actors/eta/robust-statistics.ts'
import type { LoadingCost, StartsCost } from '../../domain/history.ts'
import type { GenerationStartKind, Timestamp } from '../../domain/job.ts'
import { dayMs } from '../../domain/time.ts'
import { dialectOf } from './dialect.ts'
import type { Database } from './schema.ts'
import { whole } from './whole.ts'

/** Cold runs that a comparison rests on, at most: the latest are most like today's. */
const maxColdRuns = 200

type Span = Readonly<{ from: Timestamp; to: Timestamp }>

export async function loadingCost(db: Kysely<Database>, span: Span): Promise<LoadingCost> {
  const { from } = span
  const { greatest } = dialectOf(db)
  const { rows } = await sql<Spent>`
    select task, case when loaded_at is not null then start end as start, count(*) as starts,
      sum(${greatest(sql`0`, sql`loaded_at - ${greatest(sql`claimed_at`, whole(from))}`)}) as ms
    from (
      select task, start, claimed_at, ${loadedAt(db)} as loaded_at
      from attempt where ${wereOnGpu(span)}
    ) as ended
    where loaded_at is null or loaded_at >= ${from}
    group by 1, 2
  `.execute(db)
  const known = (kind: GenerationStartKind | null) => rows.filter(({ start }) => start === kind)
  const warm = known('warm')
  const usual = await Promise.all(warm.map(({ task }) => usualColdStart(db, task)))
  const isComparable = warm.length > 0 && usual.every(({ runs }) => runs > 0)
  const coldMs = warm.reduce((sum, { starts }, index) => sum + starts * (usual[index]?.ms ?? 0), 0)
  return {
    cold: totalOf(known('cold')),
    warm: { ...totalOf(warm), ...(isComparable && { coldMs }) },
    coldRuns: usual.reduce((sum, { runs }) => sum + runs, 0),
    unknown: totalOf(known(null)).starts,
  }
}

type Spent = Readonly<{
  task: string | null
  start: GenerationStartKind | null
  starts: number
  ms: number | null
}>

const totalOf = (rows: readonly Spent[]): StartsCost => ({
  starts: rows.reduce((sum, { starts }) => sum + starts, 0),
  ms: rows.reduce((sum, { ms }) => sum + (ms ?? 0), 0),
})

/**
 * When the pipeline was there: at the first stage after loading that was seen to begin. A generation
 * that ended before that was loading up to its end, if the launcher said how far it was.
 */
function loadedAt(db: Kysely<Database>): RawBuilder<Timestamp | null> {
  const { numberIn, textIn } = dialectOf(db)
  const began = (stage: string) => numberIn('trace', 'began', stage)
  return sql`coalesce(
    ${began('encoding')}, ${began('denoising')}, ${began('decoding')}, ${began('saving')},
    case when generated_at is null and ${textIn('trace', 'source')} = 'events' then ended_at end
  )`
}

/** Generations that have ended in this time. The clock was set during those that took more than a day. */
const wereOnGpu = ({ from, to }: Span) => sql<boolean>`
  ended_at between ${from} and ${to} and started_at is not null
  and claimed_at <= ended_at and ended_at - claimed_at < ${dayMs}
`

/** Written so that both databases use the index of cold runs. */
const ofTask = (task: string | null) =>
  task === null ? sql<boolean>`task is null` : sql<boolean>`task = ${task}`

/** Median of the latest cold runs of the task that led to a video. */
async function usualColdStart(
  db: Kysely<Database>,
  task: string | null,
): Promise<Readonly<{ runs: number; ms: number }>> {
  const { rows } = await sql<{ ms: number }>`
    select loaded_at - claimed_at as ms from (
      select claimed_at, ${loadedAt(db)} as loaded_at, ended_at from attempt
      where start = 'cold' and outcome = 'success' and ${ofTask(task)}
      order by ended_at desc limit ${maxColdRuns}
    ) as cold
    where loaded_at between claimed_at and ended_at and ended_at - claimed_at < ${dayMs}
  `.execute(db)
  const runs = rows.map(({ ms }) => ({ ms, weight: 1 }))
  return { runs: runs.length, ms: weightedMedian(runs, ({ ms }) => ms) }
}
