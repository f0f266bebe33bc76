import { createReadStream } from 'node:fs'
import { Readable } from 'node:stream'
import { Hono } from 'hono'
import { type ActorRef, ask } from '../actors/actor.ts'
import type { EventMessage } from '../actors/event/event-protocol.ts'
import type { JobView, QueueMessage } from '../actors/queue/queue-protocol.ts'
import { everything } from '../client.ts'
import { RefusalError } from '../errors.ts'
import type { JobId, JobStatus } from '../job.ts'
import type { ClientEnv } from './access.ts'
import { found, isForm, noJob, orThrow, parse, repeatedHeader, repetitionOf } from './edge.ts'
import { type Uploads, withBody } from './form.ts'
import type { createJobRenderer } from './job-view.ts'
import { tagOf, waitForChange } from './long-poll.ts'
import { quotaHeaders } from './problem.ts'
import {
  DeleteJobsQuery,
  type generateSchema,
  IdParam,
  ListQuery,
  LookupQuery,
  StatusQuery,
  withNumbers,
} from './schemas.ts'

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

/** HTTP in, messages out: a handler parses, asks and renders, and decides nothing. */
export function jobRoutes(options: JobRoutesOptions) {
  const { queue, events, render, request, uploads, logPath, cancelWithinMs } = options
  const renderAll = async (views: readonly JobView[]) => {
    const estimates = await render.estimates(views.map(({ job }) => job))
    return views.map((view) => render.job(view, estimates.get(view.job.id)))
  }
  const renderOne = async (view: JobView) => {
    const estimates = await render.estimates([view.job])
    return render.job(view, estimates.get(view.job.id))
  }

  return new Hono<ClientEnv>()
    .post('/generate', (c) =>
      withBody(c, { uploads, imageField: 'image' }, async (fields) => {
        const draft = parse(request, isForm(c) ? withNumbers(fields) : fields)
        const { client } = c.var
        const repetition = repetitionOf(c)
        const view = orThrow(await ask(queue, { type: 'submit', draft, client, repetition }))
        const { id, status, queue_position, seed, ...rest } = await renderOne(view)
        const { eta_seconds, eta_p10_seconds, eta_p90_seconds, eta_at, eta_source } = rest
        const eta = { eta_seconds, eta_p10_seconds, eta_p90_seconds, eta_at, eta_source }
        const accepted = { id, status, queue_position, ...eta, gpu_assigned: null, seed }
        const { webhook } = view
        const told = webhook && { webhook_id: webhook.id, webhook_secret: webhook.secret }
        return c.json({ ...accepted, ...told }, 202, {
          Location: `/status/${id}`,
          ...quotaHeaders(view.quota),
          ...repeatedHeader(view),
        })
      }),
    )

    .get('/status/:id', async (c) => {
      const jobId = parse(IdParam, c.req.param('id'))
      const { wait } = parse(StatusQuery, c.req.query())
      const { scope } = c.var
      const find = async () =>
        found(await ask(queue, { type: 'find', jobId, scope }), () => noJob(jobId))
      const view = await find()
      const known = c.req.header('If-None-Match')
      const { signal } = c.req.raw
      const wanted = { scope, tag: known ?? tagOf(view), waitMs: wait * 1000, signal }
      const changed = await waitForChange(events, view, wanted)
      const headers = { ETag: tagOf(changed ?? view), 'Cache-Control': 'no-store' }
      if (!changed && known) return c.body(null, 304, headers)
      const latest = changed ?? (wait > 0 ? await find() : view)
      return c.json(await renderOne(latest), 200, headers)
    })

    .get('/jobs', async (c) => {
      const filter = parse(ListQuery, c.req.query())
      const { status, order, limit, after } = filter
      const page = await ask(queue, {
        type: 'list',
        scope: c.var.scope,
        filter: { order, limit, ...(status && { status }), ...(after && { after }) },
      })
      const jobs = await renderAll(page.jobs)
      return c.json({ jobs, has_more: page.hasMore, next_after: jobs.at(-1)?.id ?? null })
    })

    .get('/jobs/lookup', async (c) => {
      const { prompt, all } = parse(LookupQuery, c.req.query())
      const views = await ask(queue, {
        type: 'lookup',
        prompt,
        limit: all ? 1_000 : 1,
        scope: c.var.scope,
      })
      const [latest] = views
      if (!latest)
        throw new RefusalError('job_not_found', 'No job has exactly this prompt.', {
          field: 'prompt',
        })
      return c.json(all ? { jobs: await renderAll(views) } : await renderOne(latest))
    })

    .get('/jobs/:id', async (c) => {
      const jobId = parse(IdParam, c.req.param('id'))
      const detail = found(await ask(queue, { type: 'describe', jobId, scope: c.var.scope }), () =>
        noJob(jobId),
      )
      return c.json({ ...(await renderOne(detail)), attempts: render.attempts(detail) })
    })

    .get('/jobs/:id/log', async (c) => {
      const jobId = parse(IdParam, c.req.param('id'))
      found(await ask(queue, { type: 'find', jobId, scope: c.var.scope }), () => noJob(jobId))
      // No log yet is an empty log: the job has not begun.
      const stream = await openIfThere(logPath(jobId))
      return c.body(stream, 200, {
        'Content-Type': 'text/plain; charset=utf-8',
        'Cache-Control': 'no-store',
      })
    })

    .delete('/jobs', async (c) => {
      const query = parse(DeleteJobsQuery, c.req.query())
      const { ids, all, status, delete_files } = query
      const scope = all ? orThrow(everything(c.var.client)) : c.var.scope
      const selection = ids
        ? { ids }
        : { status: (status ?? (['queued', 'running'] as const)).filter(isCancelable) }
      const { canceled, canceling, rest } = await ask(
        queue,
        { type: 'cancel', selection, scope },
        cancelWithinMs,
      )
      const deleted = delete_files
        ? await ask(queue, {
            type: 'deleteVideos',
            scope,
            selection: ids ? { ids } : { status: status ?? ['success'] },
          })
        : []
      const ended = await Promise.all(
        rest.map((jobId) => ask(queue, { type: 'find', jobId, scope })),
      )
      const unknown = rest.filter((_, index) => ended[index] === undefined)
      if (ids && unknown.length === ids.length) throw noJob(...unknown)
      return c.json(
        {
          canceled: canceled.map((id) => ({ id, status: 'canceled' })),
          canceling: canceling.map((id) => ({ id, status: 'running' })),
          unchanged: ended.flatMap((view) =>
            view ? [{ id: view.job.id, status: view.job.state.status }] : [],
          ),
          not_found: unknown,
          deleted_files: deleted.map(({ jobId, filename }) => ({ id: jobId, filename })),
        },
        canceling.length > 0 ? 202 : 200,
      )
    })
}

const isCancelable = (status: JobStatus): status is 'queued' | 'running' =>
  status === 'queued' || status === 'running'

async function openIfThere(path: string): Promise<ReadableStream | string> {
  const stream = createReadStream(path)
  return new Promise((resolve, reject) => {
    stream.once('open', () => resolve(Readable.toWeb(stream) as ReadableStream))
    stream.once('error', (error) => {
      if ((error as { code?: string }).code === 'ENOENT') resolve('')
      else reject(error)
    })
  })
}
