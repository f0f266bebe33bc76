import type { Result, Router } from 'hono/router'
import { RegExpRouter } from 'hono/router/reg-exp-router'
import { SmartRouter } from 'hono/router/smart-router'
import { TrieRouter } from 'hono/router/trie-router'
import { rememberPaths } from './remember-paths.ts'

/** Hono's own choice of routers, asked once for each path that is asked for again and again. */
export function rememberingRouter<Handler>(): Router<Handler> {
  const router = new SmartRouter<Handler>({ routers: [new RegExpRouter(), new TrieRouter()] })
  const get = rememberPaths<Result<Handler>>()
  return {
    name: 'RememberingRouter',
    add: (method, path, handler) => router.add(method, path, handler),
    match: (method, path) =>
      method === 'GET' ? get(path, () => router.match(method, path)) : router.match(method, path),
  }
}
