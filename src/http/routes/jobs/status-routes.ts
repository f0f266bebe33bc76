/** `GET /status/:id`, which clients poll. */
import { Hono } from 'hono'
import { type ActorRef, ask } from '../../../actors/actor.ts'
import type { ArchiveMessage } from '../../../actors/archive/archive-protocol.ts'
import type { EventMessage } from '../../../actors/event/event-protocol.ts'
import type { JobView } from '../../../actors/queue/queue-protocol.ts'
import { nameOf } from '../../../domain/client.ts'
import { jobNotFound } from '../../../domain/errors.ts'
import { jsonText, type Written } from '../../fast/answer.ts'
import { sharing } from '../../fast/share.ts'
import type { ClientEnv } from '../../request/client-env.ts'
import { StatusQuery } from '../../request/parameters.ts'
import { route } from '../../request/route.ts'
import { tagOf, waitForChange } from '../../response/long-poll.ts'
import { found } from '../../response/outcome.ts'
import { JobJson } from '../../views/job-view.ts'
import { ofOneJob } from './one-job.ts'
import type { JobRenderer } from './render-jobs.ts'

export type StatusRoutesOptions = Readonly<{
  archive: ActorRef<ArchiveMessage>
  events: ActorRef<EventMessage>
  render: JobRenderer
}>

export function statusRoutes({ archive, events, render }: StatusRoutesOptions) {
  const share = sharing<Written>()

  return new Hono<ClientEnv>().get(
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
        found(await ask(archive, { type: 'find', jobId, scope }), () => jobNotFound(jobId))
      const standing = (view: JobView) => ({ ETag: tagOf(view), 'Cache-Control': 'no-store' })
      const write = async (view: JobView) => ({
        text: JSON.stringify(
          render.job(view, (await render.estimates([view.job])).get(view.job.id)),
        ),
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
}
