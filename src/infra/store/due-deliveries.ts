/** What is due in the outbox, read without a look at the rest of a backlog. */
import { type Kysely, type Selectable, sql } from 'kysely'
import type { Steady } from '../../actors/webhook/delivery-clock.ts'
import type { DueDelivery, DueFilter } from '../../actors/webhook/webhook-ports.ts'
import { dialectOf } from './dialect.ts'
import type { Database } from './schema.ts'

export type DueRow = Selectable<Database['delivery']> &
  Pick<Selectable<Database['webhook']>, 'url' | 'secrets' | 'owner' | 'registered_by'> &
  Pick<DueDelivery, 'party' | 'line'>

/**
 * Steps from one webhook with pending deliveries to the next (`awaiting`) and reads the first due
 * deliveries of each: the time depends on the number of these webhooks, not of deliveries. A line with
 * a long backlog leaves room for the other lines of its party, and a party for the other parties.
 */
export async function findDue(
  db: Kysely<Database>,
  steady: Steady,
  { inFlight, notTo, lanes, maxPerLine, maxPerParty }: DueFilter,
): Promise<readonly DueRow[]> {
  const { isPostgres, listed } = dialectOf(db)
  const first = sql`
    from delivery as due
    where status = 'pending' and webhook_id = party.id and next_at <= ${steady}
      and due.id not in ${listed(inFlight)}
      and not exists (
        select 1 from delivery as earlier
        where earlier.job_id = due.job_id and earlier.webhook_id = due.webhook_id
          and earlier.seq < due.seq and earlier.status = 'pending'
      )
    order by next_at, seq limit ${maxPerLine}
  `
  // Otherwise PostgreSQL evaluates the line of each webhook once for each of its deliveries.
  const once = isPostgres ? sql`materialized` : sql``
  // Both read the first of each webhook by the index, and nothing else.
  const joined = isPostgres
    ? sql`cross join lateral (select due.* ${first}) as delivery`
    : sql`join delivery on delivery.seq in (select seq ${first})`
  const laneIn = lanes.reduce(
    (others, lines, lane) =>
      sql`case when line in ${listed(lines)} then ${sql.lit(lane)} else ${others} end`,
    sql`-1`,
  )
  const { rows } = await sql<DueRow>`
    with recursive
      awaiting (webhook_id) as (
        select min(webhook_id) from delivery where status = 'pending'
        union all
        select (
          select min(webhook_id) from delivery
          where status = 'pending' and delivery.webhook_id > awaiting.webhook_id
        )
        from awaiting where awaiting.webhook_id is not null
      ),
      party as ${once} (
        select
          webhook.id, url, secrets, owner, registered_by,
          coalesce(registered_by, '') as party,
          coalesce(registered_by, '') || ' ' || (
            select receiver from delivery where status = 'pending' and webhook_id = webhook.id limit 1
          ) as line
        from awaiting join webhook on webhook.id = awaiting.webhook_id
      ),
      ready as (
        select
          delivery.*, url, secrets, owner, registered_by, party, line,
          ${laneIn} as lane,
          row_number() over (partition by line order by next_at, seq) as place
        from party ${joined}
        where line not in ${listed(notTo)}
      ),
      turns as (
        select *, row_number() over (partition by party, lane order by next_at, seq) as turn
        from ready where place <= ${maxPerLine}
      )
    select * from turns where turn <= ${maxPerParty} order by turn, next_at, seq
  `.execute(db)
  return rows
}

export async function findFailingLines(db: Kysely<Database>): Promise<readonly string[]> {
  const { rows } = await sql<Pick<DueDelivery, 'line'>>`
    select distinct coalesce(registered_by, '') || ' ' || receiver as line
    from delivery join webhook on webhook.id = delivery.webhook_id
    where status = 'pending' and attempts > 0
  `.execute(db)
  return rows.map(({ line }) => line)
}
