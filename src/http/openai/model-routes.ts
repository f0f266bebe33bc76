import { Hono } from 'hono'
import { RefusalError } from '../../errors.ts'
import type { WanTask } from '../../wan-tasks.ts'
import type { ClientEnv } from '../access.ts'
import { modelOf } from './schemas.ts'

/** The one model that this service runs, as clients want to see it listed. */
export function modelRoutes(task: WanTask) {
  const model = { id: modelOf(task), object: 'model', created: published, owned_by: 'wan-ai' }
  return new Hono<ClientEnv>()
    .get('/v1/models', (c) => c.json({ object: 'list', data: [model] }))

    .get('/v1/models/:model', (c) => {
      const id = c.req.param('model')
      if (id !== model.id) {
        throw new RefusalError('model_not_found', `There is no model "${id}", only ${model.id}.`, {
          field: 'model',
        })
      }
      return c.json(model)
    })
}

/** Of Wan2.2, in seconds since 1970. */
const published = Date.UTC(2025, 6, 28) / 1_000
