/** Hono's own choice of routers. */
import type { Router } from 'hono/router'
import { RegExpRouter } from 'hono/router/reg-exp-router'
import { SmartRouter } from 'hono/router/smart-router'
import { TrieRouter } from 'hono/router/trie-router'

export const rememberingRouter = <Handler>(): Router<Handler> =>
  new SmartRouter<Handler>({ routers: [new RegExpRouter(), new TrieRouter()] })
