/** `GET /jobs/:id`, and whether the job may expire. */
import { type Context, Hono } from 'hono'
import { type ActorRef, ask } from '../../../actors/actor.ts'
import type { ArchiveMessage } from '../../../actors/archive/archive-protocol.ts'
import { jobNotFound } from '../../../domain/errors.ts'
import type { JobId } from '../../../domain/job.ts'
import type { ClientEnv } from '../../request/client-env.ts'
import { route } from '../../request/route.ts'
import { found, orThrow } from '../../response/outcome.ts'
import { JobDetailJson, JobJson } from '../../views/job-view.ts'
import { ofOneJob } from './one-job.ts'
import { type JobRenderer, renderOne } from './render-jobs.ts'

export type DetailRoutesOptions = Readonly<{
  archive: ActorRef<ArchiveMessage>
  render: JobRenderer
}>

const pinning = {
  ...ofOneJob,
  access: 'client',
  details: 'What is pinned does not expire, however old it gets. Repeating it is harmless.',
  answers: { 200: { means: 'The job as it is now', json: JobJson } },
} as const

export function detailRoutes({ archive, render }: DetailRoutesOptions) {
  const pin = async (c: Context<ClientEnv>, jobId: JobId, pinned: boolean) => {
    const { scope, requestId } = c.var
    const view = orThrow(await ask(archive, { type: 'pin', jobId, pinned, scope, requestId }))
    return c.json(await renderOne(render, view), 200)
  }

  return new Hono<ClientEnv>()
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
          await ask(archive, { type: 'describe', jobId, scope: c.var.scope }),
          () => jobNotFound(jobId),
        )
        return c.json(
          { ...(await renderOne(render, detail)), attempts: render.attempts(detail) },
          200,
        )
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
}
