/** `GET /jobs` and `GET /jobs/lookup`. */
import { Hono, type MiddlewareHandler } from 'hono'
import * as v from 'valibot'
import { type ActorRef, ask } from '../../../actors/actor.ts'
import type { ArchiveMessage } from '../../../actors/archive/archive-protocol.ts'
import { RefusalError } from '../../../domain/errors.ts'
import { jsonBytes } from '../../fast/answer.ts'
import type { ClientEnv } from '../../request/client-env.ts'
import { ListQuery, LookupQuery } from '../../request/parameters.ts'
import { route } from '../../request/route.ts'
import { found } from '../../response/outcome.ts'
import { JobJson } from '../../views/job-view.ts'
import { Uuid } from '../../views/words.ts'
import { type JobRenderer, renderAll, renderOne } from './render-jobs.ts'

export type ListRoutesOptions = Readonly<{
  archive: ActorRef<ArchiveMessage>
  render: JobRenderer
  /** Where long answers wait for each other. */
  lane: MiddlewareHandler<ClientEnv>
}>

export function listRoutes({ archive, render, lane }: ListRoutesOptions) {
  return new Hono<ClientEnv>()
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
      lane,
      async (c) => {
        const { status, after, pinned, ...filter } = c.req.valid('query')
        const page = await ask(archive, {
          type: 'list',
          scope: c.var.scope,
          filter: {
            ...filter,
            ...(status && { status }),
            ...(after && { after }),
            ...(pinned !== undefined && { pinned }),
          },
        })
        const jobs = await renderAll(render, page.jobs)
        const answer: JobPageJson = {
          jobs,
          has_more: page.hasMore,
          next_after: jobs.at(-1)?.id ?? null,
        }
        return jsonBytes(answer, 200)
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
      lane,
      async (c) => {
        const { prompt, all } = c.req.valid('query')
        const views = await ask(archive, {
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
        return jsonBytes(
          all ? { jobs: await renderAll(render, views) } : await renderOne(render, latest),
          200,
        )
      },
    )
}

const JobsJson = v.object({ jobs: v.array(JobJson) })

const JobPageJson = v.object({
  ...JobsJson.entries,
  has_more: v.boolean(),
  next_after: v.pipe(v.nullable(Uuid), v.description('give it as `after` for the next page')),
})
type JobPageJson = v.InferOutput<typeof JobPageJson>
