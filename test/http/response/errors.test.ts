import { Hono } from 'hono'
import { describe, expect, it } from 'vitest'
import { ActorFailedError } from '../../../src/actors/actor.ts'
import { DatabaseUnreachableError, DiskFullError } from '../../../src/domain/errors.ts'
import { renderError } from '../../../src/http/response/errors.ts'

describe('an actor that could not carry out a request', () => {
  it.each([
    {
      cause: new DatabaseUnreachableError('PostgreSQL cannot be used (ECONNREFUSED)'),
      status: 503,
      code: 'database_unreachable',
      detail:
        'PostgreSQL cannot be used (ECONNREFUSED). Nothing was changed. Try again in a moment.',
    },
    {
      cause: new DiskFullError('the disk of the PostgreSQL server is full'),
      status: 507,
      code: 'disk_full',
      detail: 'Nothing was changed: the disk of the PostgreSQL server is full. Try again later.',
    },
  ])(
    'is reported with $status $code, by the cause of its failure',
    async ({ cause, ...problem }) => {
      const error = new ActorFailedError('the submission could not be prepared', { cause })
      const app = new Hono()
        .onError(renderError({ debug, info, warn, error: fail }))
        .get('/', () => {
          throw error
        })
      const response = await app.request('/')
      expect(response.status).toBe(problem.status)
      expect(await response.json()).toMatchObject(problem)
    },
  )
})

const debug = () => {}
const info = debug
const warn = debug
function fail(): void {
  throw new Error('a refusal is no error of the service')
}
