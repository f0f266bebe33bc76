import { Hono } from 'hono'
import * as v from 'valibot'
import { RefusalError } from '../../domain/errors.ts'
import type { WanTask } from '../../domain/wan-tasks.ts'
import type { ClientEnv } from '../request/client-env.ts'
import { route } from '../request/route.ts'
import { Count } from '../views/words.ts'
import { modelOf } from './schemas.ts'

const ModelJson = v.object({
  id: v.string(),
  object: v.literal('model'),
  created: Count,
  owned_by: v.string(),
})
type ModelJson = v.InferOutput<typeof ModelJson>

const ModelsJson = v.object({ object: v.literal('list'), data: v.array(ModelJson) })
type ModelsJson = v.InferOutput<typeof ModelsJson>

/** The one model that this service runs, as clients want to see it listed. */
export function modelRoutes(task: WanTask) {
  const id = modelOf(task)
  const model: ModelJson = { id, object: 'model', created: published, owned_by: 'wan-ai' }
  const models: ModelsJson = { object: 'list', data: [model] }
  return new Hono<ClientEnv>()
    .get(
      '/v1/models',
      route({
        id: 'listModels',
        access: 'client',
        tag: 'openai',
        summary: 'The one model that this service runs',
        answers: { 200: { means: 'A list of one', json: ModelsJson } },
      }),
      (c) => c.json(models, 200),
    )

    .get(
      '/v1/models/:model',
      route({
        id: 'getModel',
        access: 'client',
        tag: 'openai',
        summary: 'That model by its name',
        params: v.object({ model: v.string() }),
        answers: { 200: { means: 'The model', json: ModelJson } },
        refusals: ['model_not_found'],
      }),
      (c) => {
        const asked = c.req.valid('param').model
        if (asked === id) return c.json(model, 200)
        throw new RefusalError('model_not_found', `There is no model "${asked}", only ${id}.`, {
          field: 'model',
        })
      },
    )
}

/** Of Wan2.2, in seconds since 1970. */
const published = Date.UTC(2025, 6, 28) / 1_000
