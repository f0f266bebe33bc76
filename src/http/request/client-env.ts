import type { IncomingMessage } from 'node:http'
import type { Client, Scope } from '../../domain/client.ts'
import type { Outgoing } from '../fast/outgoing.ts'

/**
 * What a handler finds in its context once `identify` has let a request through; no `client`, only a
 * `scope`, where a link was shown in place of a token, and nothing of a stranger.
 */
export type ClientEnv = {
  Bindings: { incoming: IncomingMessage; outgoing: Outgoing }
  Variables: { requestId: string; client: Client; scope: Scope }
}
