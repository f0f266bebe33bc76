import { createHash } from 'node:crypto'
import { Hono } from 'hono'
import { describe, expect, it } from 'vitest'
import { createIdentify, routeOf } from '../../../src/http/request/access.ts'
import type { ClientEnv } from '../../../src/http/request/client-env.ts'
import type { Access } from '../../../src/http/request/route.ts'
import { renderError } from '../../../src/http/response/errors.ts'
import { accessOfTheApp } from '../../support/routes.ts'

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

describe('a route of the app', () => {
  const access = [...accessOfTheApp()]
  const routesFor = (...roles: readonly (Access | undefined)[]) =>
    access.flatMap(([route, role]) => (roles.includes(role) ? [route] : [])).toSorted()

  it('requires a role', () => {
    expect(routesFor(undefined)).toEqual([])
  })

  it('is open without a token only where it gives out nothing of a client', () => {
    expect(routesFor('anybody', 'probe', 'stranger')).toEqual([
      'GET /',
      'GET /assets/:file',
      'GET /docs',
      'GET /docs/:file',
      'GET /health',
      'GET /openapi.json',
      'GET /ready',
      'GET /whoami',
    ])
  })

  it('takes a signed link only where it gives out a file', () => {
    expect(routesFor('link')).toEqual([
      'GET /files/:filename',
      'GET /jobs/:id/thumbnail',
      'HEAD /files/:filename',
    ])
  })

  it('is for admins where it is about all clients or the machine', () => {
    expect(routesFor('admin')).toEqual([
      'DELETE /nodes/:name',
      'GET /eta/accuracy',
      'GET /gpus',
      'GET /metrics',
      'GET /nodes',
      'GET /stats',
      'GET /tasks',
      'POST /admin/purge',
      'POST /gpus/:id/drain',
      'POST /gpus/:id/restart',
      'POST /gpus/:id/resume',
      'POST /nodes/:name/drain',
      'POST /nodes/:name/resume',
      'POST /tasks/:task/reload',
    ])
  })
})

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
