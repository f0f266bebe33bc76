/** `DELETE /jobs`. */
import { Hono } from 'hono'
import * as v from 'valibot'
import { type ActorRef, ask } from '../../../actors/actor.ts'
import type { ArchiveMessage } from '../../../actors/archive/archive-protocol.ts'
import type { QueueMessage } from '../../../actors/queue/queue-protocol.ts'
import { everything } from '../../../domain/client.ts'
import { jobNotFound } from '../../../domain/errors.ts'
import { isExpired, type JobStatus, jobStatuses } from '../../../domain/job.ts'
import type { ClientEnv } from '../../request/client-env.ts'
import { DeleteJobsQuery } from '../../request/parameters.ts'
import { route } from '../../request/route.ts'
import { found, orThrow } from '../../response/outcome.ts'
import {
  deletionWithinMs,
  KeptFilesJson,
  keptFileJson,
  UnconfirmedFilesJson,
  unconfirmedFileJson,
} from '../../views/kept-file.ts'
import { Uuid } from '../../views/words.ts'

export type CancelRoutesOptions = Readonly<{
  queue: ActorRef<QueueMessage>
  archive: ActorRef<ArchiveMessage>
  /** How long an answer to a cancel may take: processes are given time to end by themselves. */
  cancelWithinMs: number
}>

const Standing = v.object({ id: Uuid, status: v.picklist(jobStatuses) })

const CanceledJson = v.object({
  canceled: v.array(Standing),
  canceling: v.pipe(
    v.array(Standing),
    v.description('processes that have not ended yet; the job can only end as `canceled`'),
  ),
  unchanged: v.pipe(v.array(Standing), v.description('over before')),
  not_found: v.array(Uuid),
  deleted_files: v.array(v.object({ id: Uuid, filename: v.string() })),
  kept_files: v.optional(KeptFilesJson),
  unconfirmed_files: v.optional(UnconfirmedFilesJson),
})
type CanceledJson = v.InferOutput<typeof CanceledJson>

export function cancelRoutes({ queue, archive, cancelWithinMs }: CancelRoutesOptions) {
  return new Hono<ClientEnv>().delete(
    '/jobs',
    route({
      id: 'cancelJobs',
      access: 'client',
      tag: 'jobs',
      summary: 'Cancel what is queued or running',
      details:
        'With exactly one of `ids`, `status`, `all=true`; the last is for admins. Answers when no ' +
        'process of the canceled jobs is left. `delete_files=true` also removes their videos. ' +
        'Records stay. Repeating it is harmless.',
      query: DeleteJobsQuery,
      answers: {
        200: { means: 'All of it is done', json: CanceledJson },
        202: { means: 'Some processes have not ended yet', json: CanceledJson },
      },
      refusals: ['forbidden', 'job_not_found', 'job_expired'],
    }),
    async (c) => {
      const { ids, all, status, delete_files } = c.req.valid('query')
      const { client, requestId } = c.var
      const scope = all ? orThrow(everything(client)) : c.var.scope
      const selection = ids
        ? { ids }
        : { status: (status ?? (['queued', 'running'] as const)).filter(isCancelable) }
      const { canceled, canceling, rest } = await ask(
        queue,
        { type: 'cancel', selection, scope, requestId },
        cancelWithinMs,
      )
      const videos = ids ? { ids } : { status: status ?? (['success'] as const) }
      const command = { type: 'deleteVideos', scope, requestId, selection: videos } as const
      const { deleted, kept, unconfirmed } = delete_files
        ? await ask(archive, command, deletionWithinMs)
        : { deleted: [], kept: [], unconfirmed: [] }
      const ended = await Promise.all(
        rest.map((jobId) => ask(archive, { type: 'find', jobId, scope })),
      )
      const known = ended.flatMap((one) => (one && !isExpired(one) ? [one] : []))
      const unknown = rest.filter((id) => !known.some(({ job }) => job.id === id))
      if (ids && unknown.length === ids.length) {
        found(ended.find(isExpired), () => jobNotFound(...unknown))
      }
      const answer: CanceledJson = {
        canceled: canceled.map((id) => ({ id, status: 'canceled' })),
        canceling: canceling.map((id) => ({ id, status: 'running' })),
        unchanged: known.map(({ job }) => ({ id: job.id, status: job.state.status })),
        not_found: unknown,
        deleted_files: deleted.map(({ jobId, filename }) => ({ id: jobId, filename })),
        ...(kept.length > 0 && { kept_files: kept.map(keptFileJson) }),
        ...(unconfirmed.length > 0 && {
          unconfirmed_files: unconfirmed.map(unconfirmedFileJson),
        }),
      }
      return c.json(answer, canceling.length > 0 ? 202 : 200)
    },
  )
}

const isCancelable = (status: JobStatus): status is 'queued' | 'running' =>
  status === 'queued' || status === 'running'
