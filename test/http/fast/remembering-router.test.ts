import fc from 'fast-check'
import { Hono } from 'hono'
import { describe, expect, it } from 'vitest'
import { rememberingRouter } from '../../../src/http/fast/remembering-router.ts'

const routes = [
  ['GET', '/jobs'],
  ['GET', '/jobs/lookup'],
  ['GET', '/jobs/:id'],
  ['DELETE', '/jobs/:id'],
  ['POST', '/jobs/:id/pin'],
  ['GET', '/files/:filename'],
] as const

/** Says which route it is that answers, and with which parameters. */
function anApp(app: Hono): Hono {
  app.use((_, next) => next())
  for (const [method, path] of routes) {
    app.on(method, path, (c) => c.json({ method, path, params: c.req.param() }))
  }
  return app
}

describe('a router that remembers', () => {
  it('leads everywhere where one leads that does not', async () => {
    const remembering = anApp(new Hono({ router: rememberingRouter() }))
    const plain = anApp(new Hono())
    const part = fc.constantFrom('jobs', 'lookup', 'files', 'pin', 'a', 'b', 'a%20b', '%', '')
    const request = fc.record({
      method: fc.constantFrom('GET', 'HEAD', 'POST', 'DELETE'),
      path: fc.array(part, { maxLength: 4 }).map((parts) => `/${parts.join('/')}`),
    })
    await fc.assert(
      fc.asyncProperty(fc.array(request, { maxLength: 20 }), async (requests) => {
        for (const { method, path } of requests) {
          const [answer, expected] = await Promise.all(
            [remembering, plain].map(async (app) => {
              const response = await app.request(path, { method })
              return [response.status, await response.text()]
            }),
          )
          expect(answer).toEqual(expected)
        }
      }),
    )
  })
})
