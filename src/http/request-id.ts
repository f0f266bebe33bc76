import { randomUUID } from 'node:crypto'
import type { Context } from 'hono'
import type { ClientEnv } from './access.ts'

/** What a request is called in logs and in its answer: as the client has it, if that is a plain word. */
export function nameRequest(c: Context<ClientEnv>): void {
  const asked = c.env.incoming.headers['x-request-id']
  const requestId =
    typeof asked === 'string' && /^[\w=-]{1,255}$/.test(asked) ? asked : randomUUID()
  c.set('requestId', requestId)
  c.env.outgoing.setHeader('X-Request-Id', requestId)
}
