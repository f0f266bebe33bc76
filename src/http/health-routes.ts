import { Hono } from 'hono'
import { type ActorRef, ask } from '../actors/actor.ts'
import type { SupervisorMessage } from '../actors/supervisor/supervisor-protocol.ts'

/** That this answers says that the loop turns; `degraded` says that some part has been given up. */
export const healthRoutes = (supervisor: ActorRef<SupervisorMessage>, version: string) =>
  new Hono().get('/health', async (c) => {
    const children = await ask(supervisor, { type: 'whichChildren' })
    const givenUp = children.filter(({ phase }) => phase === 'given_up')
    return c.json({
      status: givenUp.length > 0 ? 'degraded' : 'ok',
      version,
      uptime_seconds: Math.floor(process.uptime()),
      given_up: givenUp.map(({ id, error }) => ({ id, error: error ?? null })),
    })
  })
