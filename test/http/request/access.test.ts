import { createHash } from 'node:crypto'
import { Hono } from 'hono'
import { describe, expect, it } from 'vitest'
import { createIdentify, routeOf } from '../../../src/http/request/access.ts'
import type { ClientEnv } from '../../../src/http/request/client-env.ts'
import { renderError } from '../../../src/http/response/errors.ts'

const quiet = () => {}
const holder = (name: string, isAdmin: boolean) => ({
  name,
  isAdmin,
  tokenDigest: createHash('sha256').update(name).digest(),
})
const links = {
  jobOf() {
    throw new Error('nobody shows a link')
  },
}
const socket = { remoteAddress: '192.0.2.7', remotePort: 1, remoteFamily: 'IPv4' }

describe('a route that nobody has said anything about', () => {
  const holders = [holder('ada', false), holder('ops', true)]
  const identify = createIdentify({ holders, links, trustedProxies: 0 })
  const app = new Hono<ClientEnv>()
    .use((c, next) => {
      identify(c, routeOf(c))
      return next()
    })
    .get('/new', (c) => c.text('new'))
    .onError(renderError({ debug: quiet, info: quiet, warn: quiet, error: quiet }))

  it.each([
    ['nobody', {}, 401],
    ['a client', { authorization: 'Bearer ada' }, 403],
    ['an admin', { authorization: 'Bearer ops' }, 200],
  ])('answers %s as a route for admins', async (_, headers, status) => {
    const response = await app.request('/new', { headers }, { incoming: { socket, headers } })
    expect(response.status).toBe(status)
  })
})
