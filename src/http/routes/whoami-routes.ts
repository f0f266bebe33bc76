import { Hono } from 'hono'
import * as v from 'valibot'
import type { Client } from '../../domain/client.ts'
import type { ClientEnv } from '../request/client-env.ts'
import { route } from '../request/route.ts'

const WhoamiJson = v.object({
  name: v.pipe(v.nullable(v.string()), v.description('of the client; `null`: it has none')),
  is_admin: v.boolean(),
  needs_token: v.pipe(v.boolean(), v.description('`true`: show one, you are nobody yet')),
})
type WhoamiJson = v.InferOutput<typeof WhoamiJson>

/** For pages, which would show in vain what the one before them may not see. */
export const whoamiRoutes = () =>
  new Hono<ClientEnv>().get(
    '/whoami',
    route({
      id: 'describeClient',
      access: 'stranger',
      tag: 'service',
      summary: 'Who you are to this service, and what you may do',
      details: 'Answers also without a token; one that is not known is refused.',
      answers: { 200: { means: 'You', json: WhoamiJson } },
    }),
    (c) => {
      const client = c.var.client as Client | undefined
      const who: WhoamiJson = {
        name: client?.name ?? null,
        is_admin: client?.isAdmin ?? false,
        needs_token: client === undefined,
      }
      return c.json(who, 200, { 'Cache-Control': 'no-store' })
    },
  )
