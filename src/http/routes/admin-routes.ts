import { Hono } from 'hono'
import * as v from 'valibot'
import { type ActorRef, ask } from '../../actors/actor.ts'
import type { JanitorMessage } from '../../actors/janitor/janitor-protocol.ts'
import { PurgeBody } from '../request/bodies.ts'
import type { ClientEnv } from '../request/client-env.ts'
import { route } from '../request/route.ts'
import { Count, iso, Time } from '../views/words.ts'

export type AdminRoutesOptions = Readonly<{ janitor: ActorRef<JanitorMessage> }>

/** A purge answers when it is done, or after 25 seconds of its own. */
const withinMs = 55_000

const PurgeJson = v.object({
  dry_run: v.pipe(v.boolean(), v.description('`true`: nothing has gone, this is what would')),
  jobs: Count,
  bytes: v.pipe(Count, v.description('of their videos')),
  oldest: v.nullable(v.pipe(Time, v.description('of these jobs, when the first ended'))),
  newest: v.nullable(v.pipe(Time, v.description('and the last'))),
  kept: v.pipe(
    Count,
    v.description(
      'were meant as well, but are being downloaded, have webhooks that are not over, or would not go',
    ),
  ),
  complete: v.pipe(v.boolean(), v.description('`false`: there is more; send it again')),
})
type PurgeJson = v.InferOutput<typeof PurgeJson>

/** What operators do about the service as a whole. */
export const adminRoutes = ({ janitor }: AdminRoutesOptions) =>
  new Hono<ClientEnv>().post(
    '/admin/purge',
    route({
      id: 'purgeJobs',
      access: 'admin',
      tag: 'service',
      summary: 'Remove jobs that are over, with their videos and logs',
      details:
        'Of all that is said about them, everything has to be so. What is pinned stays. Unless `dry_run` ' +
        'is `false`, nothing goes and it is only told what would.',
      json: v.optional(PurgeBody, {}),
      answers: { 200: { means: 'What has gone, or would', json: PurgeJson } },
    }),
    async (c) => {
      const { dryRun, ...wish } = c.req.valid('json')
      const { client, requestId } = c.var
      const command = { type: 'purge', wish, dryRun, by: client.name, requestId } as const
      const answer = await ask(janitor, command, withinMs)
      const { jobs, bytes, oldest, newest, kept, complete } = answer
      const told: PurgeJson = {
        dry_run: dryRun,
        jobs,
        bytes,
        oldest: iso(oldest),
        newest: iso(newest),
        kept,
        complete,
      }
      return c.json(told, 200)
    },
  )
