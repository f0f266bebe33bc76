/** `POST /generate`. */
import { Hono } from 'hono'
import type { ActorRef } from '../../../actors/actor.ts'
import type { QueueMessage } from '../../../actors/queue/queue-protocol.ts'
import { json } from '../../fast/answer.ts'
import { exampleRequest } from '../../openapi/examples.ts'
import type { generateSchema } from '../../request/bodies.ts'
import type { ClientEnv } from '../../request/client-env.ts'
import { isForm, parse, repeatedHeaderSays } from '../../request/edge.ts'
import { withNumbers } from '../../request/fields.ts'
import { type Uploads, withBody } from '../../request/form.ts'
import { route, submissionHeaders, submissionRefusals } from '../../request/route.ts'
import { createSubmit, type SubmitOptions } from '../../request/submit.ts'
import { quotaHeadersSay } from '../../response/problem.ts'
import { AcceptedJson } from '../../views/job-view.ts'
import { type JobRenderer, renderOne } from './render-jobs.ts'

export type SubmitRoutesOptions = Pick<SubmitOptions, 'repeatedJobs'> &
  Readonly<{
    queue: ActorRef<QueueMessage>
    render: JobRenderer
    request: ReturnType<typeof generateSchema>
    uploads: Uploads
  }>

export function submitRoutes({
  queue,
  render,
  request,
  uploads,
  repeatedJobs,
}: SubmitRoutesOptions) {
  const submit = createSubmit(queue, { ...render, repeatedJobs })

  return new Hono<ClientEnv>().post(
    '/generate',
    route({
      id: 'submitJob',
      access: 'client',
      tag: 'jobs',
      summary: 'Submit a prompt',
      details: 'What is answered for is on disk, and becomes a video or an error.',
      headers: submissionHeaders,
      body: request,
      form: true,
      example: exampleRequest,
      answers: {
        202: {
          means: 'Taken',
          json: AcceptedJson,
          headers: { Location: 'its status', ...quotaHeadersSay, ...repeatedHeaderSays },
        },
      },
      refusals: [...submissionRefusals, 'filename_taken', 'idempotency_key_reuse'],
    }),
    (c) =>
      withBody(c, { uploads, imageField: 'image' }, async (fields) => {
        const draft = parse(request, isForm(c) ? withNumbers(fields) : fields)
        const { view, headers, webhook } = await submit(c, draft)
        const { id, status, queue_position, seed, ...rest } = await renderOne(render, view)
        const { eta_seconds, eta_p10_seconds, eta_p90_seconds, eta_at, eta_source } = rest
        const eta = { eta_seconds, eta_p10_seconds, eta_p90_seconds, eta_at, eta_source }
        const accepted = { id, status, queue_position, ...eta, gpu_assigned: null, seed }
        const taken: AcceptedJson = { ...accepted, ...webhook }
        return json(taken, 202, { Location: `/status/${id}`, ...headers })
      }),
  )
}
