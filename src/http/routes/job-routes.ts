import { type Context, Hono } from 'hono'
import * as v from 'valibot'
import { type ActorRef, ask } from '../../actors/actor.ts'
import type { EventMessage } from '../../actors/event/event-protocol.ts'
import type { JobView, QueueMessage } from '../../actors/queue/queue-protocol.ts'
import { everything, nameOf } from '../../domain/client.ts'
import { jobNotFound, RefusalError } from '../../domain/errors.ts'
import { isExpired, type JobId, type JobStatus, jobStatuses } from '../../domain/job.ts'
import { json, jsonText, type Written } from '../fast/answer.ts'
import { sharing } from '../fast/share.ts'
import { exampleRequest } from '../openapi/examples.ts'
import type { generateSchema } from '../request/bodies.ts'
import type { ClientEnv } from '../request/client-env.ts'
import { isForm, parse, repeatedHeaderSays } from '../request/edge.ts'
import { withNumbers } from '../request/fields.ts'
import { type Uploads, withBody } from '../request/form.ts'
import {
  DeleteJobsQuery,
  IdParam,
  ListQuery,
  LookupQuery,
  StatusQuery,
} from '../request/parameters.ts'
import { route, submissionHeaders, submissionRefusals } from '../request/route.ts'
import { createSubmit } from '../request/submit.ts'
import { tagOf, waitForChange } from '../response/long-poll.ts'
import { found, orThrow } from '../response/outcome.ts'
import { quotaHeadersSay } from '../response/problem.ts'
import { sendLog } from '../response/send-log.ts'
import { AcceptedJson, type createJobRenderer, JobDetailJson, JobJson } from '../views/job-view.ts'
import { Uuid } from '../views/words.ts'

export type JobRoutesOptions = Readonly<{
  queue: ActorRef<QueueMessage>
  events: ActorRef<EventMessage>
  render: ReturnType<typeof createJobRenderer>
  request: ReturnType<typeof generateSchema>
  uploads: Uploads
  /** Where a job's log is, whether or not it has been written yet. */
  logPath(jobId: JobId): string
  /** How long an answer to a cancel may take: processes are given time to end by themselves. */
  cancelWithinMs: number
}>

const JobsJson = v.object({ jobs: v.array(JobJson) })

const JobPageJson = v.object({
  ...JobsJson.entries,
  has_more: v.boolean(),
  next_after: v.pipe(v.nullable(Uuid), v.description('give it as `after` for the next page')),
})
type JobPageJson = v.InferOutput<typeof JobPageJson>

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
})
type CanceledJson = v.InferOutput<typeof CanceledJson>

const ofOneJob = {
  tag: 'jobs',
  params: v.object({ id: IdParam }),
  refusals: ['job_not_found', 'job_expired'],
} as const

const logTypes = ['text/plain; charset=utf-8']

const pinning = {
  ...ofOneJob,
  access: 'client',
  details: 'What is pinned does not expire, however old it gets. Repeating it is harmless.',
  answers: { 200: { means: 'The job as it is now', json: JobJson } },
} as const

/** HTTP in, messages out: a handler parses, asks and renders, and decides nothing. */
export function jobRoutes(options: JobRoutesOptions) {
  const { queue, events, render, request, uploads, logPath, cancelWithinMs } = options
  const submit = createSubmit(queue, render)
  const renderAll = async (views: readonly JobView[]) => {
    const estimates = await render.estimates(views.map(({ job }) => job))
    return views.map((view) => render.job(view, estimates.get(view.job.id)))
  }
  const renderOne = async (view: JobView) => {
    const estimates = await render.estimates([view.job])
    return render.job(view, estimates.get(view.job.id))
  }
  const share = sharing<Written>()
  const pin = async (c: Context<ClientEnv>, jobId: JobId, pinned: boolean) => {
    const { scope, requestId } = c.var
    const view = orThrow(await ask(queue, { type: 'pin', jobId, pinned, scope, requestId }))
    return c.json(await renderOne(view), 200)
  }

  return new Hono<ClientEnv>()
    .post(
      '/generate',
      route({
        id: 'submitJob',
        access: 'client',
        tag: 'jobs',
        summary: 'Submit a prompt',
        details: 'What is answered for is on disk, and becomes a video or an error.',
        headers: submissionHeaders,
        body: request,
        form: true,
        example: exampleRequest,
        answers: {
          202: {
            means: 'Taken',
            json: AcceptedJson,
            headers: { Location: 'its status', ...quotaHeadersSay, ...repeatedHeaderSays },
          },
        },
        refusals: [...submissionRefusals, 'filename_taken', 'idempotency_key_reuse'],
      }),
      (c) =>
        withBody(c, { uploads, imageField: 'image' }, async (fields) => {
          const draft = parse(request, isForm(c) ? withNumbers(fields) : fields)
          const { view, headers, webhook } = await submit(c, draft)
          const { id, status, queue_position, seed, ...rest } = await renderOne(view)
          const { eta_seconds, eta_p10_seconds, eta_p90_seconds, eta_at, eta_source } = rest
          const eta = { eta_seconds, eta_p10_seconds, eta_p90_seconds, eta_at, eta_source }
          const accepted = { id, status, queue_position, ...eta, gpu_assigned: null, seed }
          const taken: AcceptedJson = { ...accepted, ...webhook }
          return json(taken, 202, { Location: `/status/${id}`, ...headers })
        }),
    )

    .get(
      '/status/:id',
      route({
        ...ofOneJob,
        id: 'getStatus',
        access: 'client',
        summary: 'How a job stands',
        details:
          'With `wait`, the answer comes when something has changed, or after so many seconds.',
        headers: { 'If-None-Match': 'what is known of it: the `ETag` of an earlier answer' },
        query: StatusQuery,
        answers: {
          200: { means: 'The job', json: JobJson, headers: { ETag: 'of what it is now' } },
          304: { means: 'It is as you know it' },
        },
        refusals: [...ofOneJob.refusals, 'too_many_watchers'],
      }),
      async (c) => {
        const { id: jobId } = c.req.valid('param')
        const { wait } = c.req.valid('query')
        const scope = c.get('scope')
        const known = c.env.incoming.headers['if-none-match']
        const find = async () =>
          found(await ask(queue, { type: 'find', jobId, scope }), () => jobNotFound(jobId))
        const standing = (view: JobView) => ({ ETag: tagOf(view), 'Cache-Control': 'no-store' })
        const write = async (view: JobView) => ({
          text: render.text(view, (await render.estimates([view.job])).get(view.job.id)),
          headers: standing(view),
        })
        const answer = ({ text, headers }: Written) => jsonText<JobJson, 200>(text, 200, headers)
        if (wait === 0 && known === undefined) {
          return answer(await share(`${jobId} ${nameOf(scope)}`, async () => write(await find())))
        }
        const view = await find()
        const { signal } = c.req.raw
        const wanted = { scope, tag: known ?? tagOf(view), waitMs: wait * 1000, signal }
        const changed = await waitForChange(events, view, wanted)
        if (!changed && known) return c.body(null, 304, standing(view))
        return answer(await write(changed ?? (await find())))
      },
    )

    .get(
      '/jobs',
      route({
        id: 'listJobs',
        access: 'client',
        tag: 'jobs',
        summary: 'Jobs, a page at a time',
        query: ListQuery,
        answers: { 200: { means: 'A page', json: JobPageJson } },
      }),
      async (c) => {
        const { status, after, pinned, ...filter } = c.req.valid('query')
        const page = await ask(queue, {
          type: 'list',
          scope: c.var.scope,
          filter: {
            ...filter,
            ...(status && { status }),
            ...(after && { after }),
            ...(pinned !== undefined && { pinned }),
          },
        })
        const jobs = await renderAll(page.jobs)
        const answer: JobPageJson = {
          jobs,
          has_more: page.hasMore,
          next_after: jobs.at(-1)?.id ?? null,
        }
        return c.json(answer, 200)
      },
    )

    .get(
      '/jobs/lookup',
      route({
        id: 'lookUpJob',
        access: 'client',
        tag: 'jobs',
        summary: 'The latest job of exactly this prompt, or all of them',
        query: LookupQuery,
        answers: {
          200: {
            means: 'The latest; with `all=true` every one, the latest first',
            json: v.union([JobJson, JobsJson]),
          },
        },
        refusals: ['job_not_found'],
      }),
      async (c) => {
        const { prompt, all } = c.req.valid('query')
        const views = await ask(queue, {
          type: 'lookup',
          prompt,
          limit: all ? 1_000 : 1,
          scope: c.var.scope,
        })
        const latest = found(
          views[0],
          () =>
            new RefusalError('job_not_found', 'No job has exactly this prompt.', {
              field: 'prompt',
            }),
        )
        return c.json(all ? { jobs: await renderAll(views) } : await renderOne(latest), 200)
      },
    )

    .get(
      '/jobs/:id',
      route({
        ...ofOneJob,
        id: 'describeJob',
        access: 'client',
        summary: 'A job with each try at it',
        answers: { 200: { means: 'The job', json: JobDetailJson } },
      }),
      async (c) => {
        const { id: jobId } = c.req.valid('param')
        const detail = found(
          await ask(queue, { type: 'describe', jobId, scope: c.var.scope }),
          () => jobNotFound(jobId),
        )
        return c.json({ ...(await renderOne(detail)), attempts: render.attempts(detail) }, 200)
      },
    )

    .post('/jobs/:id/pin', route({ ...pinning, id: 'pinJob', summary: 'Keep a job' }), (c) =>
      pin(c, c.req.valid('param').id, true),
    )
    .post(
      '/jobs/:id/unpin',
      route({ ...pinning, id: 'unpinJob', summary: 'Let a job expire' }),
      (c) => pin(c, c.req.valid('param').id, false),
    )

    .get(
      '/jobs/:id/log',
      route({
        ...ofOneJob,
        id: 'getLog',
        access: 'client',
        summary: 'What generate.py said',
        details: 'Progress bars are collapsed to their last state. Empty before the job begins.',
        headers: { Range: 'which bytes; `bytes=5000-` is what is new to those who know 5,000' },
        answers: {
          200: { means: 'The log', mediaTypes: logTypes, headers: { 'Accept-Ranges': 'bytes' } },
          206: {
            means: 'A part of it',
            mediaTypes: logTypes,
            headers: { 'Content-Range': 'which' },
          },
        },
        refusals: [...ofOneJob.refusals, 'range_not_satisfiable'],
      }),
      async (c) => {
        const { id: jobId } = c.req.valid('param')
        found(await ask(queue, { type: 'find', jobId, scope: c.var.scope }), () =>
          jobNotFound(jobId),
        )
        return sendLog(c, logPath(jobId))
      },
    )

    .delete(
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
        const deleted = delete_files
          ? await ask(queue, {
              type: 'deleteVideos',
              scope,
              requestId,
              selection: ids ? { ids } : { status: status ?? ['success'] },
            })
          : []
        const ended = await Promise.all(
          rest.map((jobId) => ask(queue, { type: 'find', jobId, scope })),
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
        }
        return c.json(answer, canceling.length > 0 ? 202 : 200)
      },
    )
}

const isCancelable = (status: JobStatus): status is 'queued' | 'running' =>
  status === 'queued' || status === 'running'
