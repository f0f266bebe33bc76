import type { Kysely } from 'kysely'
import type { JobId, Timestamp } from '../../domain/job.ts'
import { eventsOfEnd, newDeliveryId } from '../../domain/webhook.ts'
import type { Database } from './schema.ts'
import { readClock } from './webhook-queries.ts'
import { deliveryRow, toWebhook } from './webhook-rows.ts'

/** What ends a job is told, in the same commit, to all who want to know. */
export async function writeDeliveries(
  trx: Kysely<Database>,
  jobId: JobId,
  status: keyof typeof eventsOfEnd,
  at: Timestamp,
): Promise<void> {
  const rows = await trx
    .selectFrom('webhook')
    .innerJoin('job', (join) => join.on('job.id', '=', jobId))
    .selectAll('webhook')
    .where('disabled_at', 'is', null)
    .where(({ or, and, eb }) =>
      or([
        eb('webhook.job_id', '=', jobId),
        and([
          eb('webhook.job_id', 'is', null),
          or([eb('webhook.owner', 'is', null), eb('webhook.owner', '=', eb.ref('job.owner'))]),
        ]),
      ]),
    )
    .orderBy('webhook.created_at')
    .execute()
  if (rows.length === 0) return
  const { steady } = await readClock(trx)
  const deliveries = rows
    .map(toWebhook)
    .flatMap((webhook) =>
      eventsOfEnd[status]
        .filter((event) => webhook.events.includes(event))
        .map((event) => deliveryRow({ id: newDeliveryId(), webhook, event, jobId, at, steady })),
    )
  if (deliveries.length > 0) await trx.insertInto('delivery').values(deliveries).execute()
}
