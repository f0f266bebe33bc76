import { Hono } from 'hono'
import * as v from 'valibot'
import { type ActorRef, ask } from '../../actors/actor.ts'
import type { EventMessage } from '../../actors/event/event-protocol.ts'
import type { JobView } from '../../actors/queue/queue-protocol.ts'
import { RefusalError } from '../../domain/errors.ts'
import type { VideoDraft, WithFile } from '../../domain/job.ts'
import type { ClientEnv } from '../request/client-env.ts'
import { parse, readJson, repeatedHeaderSays } from '../request/edge.ts'
import { fromJsonText, type RefuseNegativePrompt, type RefuseUrl } from '../request/fields.ts'
import {
  type Fields,
  maxFormBytes,
  ReceivedImage,
  type Uploads,
  withBody,
} from '../request/form.ts'
import type { RepeatedJobs } from '../request/repeated-jobs.ts'
import { route, submissionHeaders, submissionRefusals } from '../request/route.ts'
import { createSubmit, type Submitted } from '../request/submit.ts'
import { waitForEnd } from '../response/long-poll.ts'
import { quotaHeadersSay } from '../response/problem.ts'
import { createVideoSender, type VideoSenderOptions } from '../response/send-video.ts'
import type { createJobRenderer } from '../views/job-view.ts'
import { createVideoSchema, ImageReference, modelOf, RemixBody } from './schemas.ts'
import {
  type C,
  CreatedVideoJson,
  caching,
  createVideos,
  described,
  finishedVideo,
  idOf,
  noFile,
  VideoParams,
  type VideosOptions,
  videoAnswer,
  videoPath,
} from './videos.ts'

export type SubmissionRoutesOptions = VideosOptions &
  VideoSenderOptions &
  Pick<ReturnType<typeof createJobRenderer>, 'secondsUntilNext'> &
  Readonly<{
    events: ActorRef<EventMessage>
    repeatedJobs: RepeatedJobs
    refuseUrl: RefuseUrl
    refuseNegativePrompt: RefuseNegativePrompt
    maxFrames: number
    cancelWithinMs: number
    /** How long whoever wants the video itself is kept waiting for it. */
    syncWaitMs: number
    uploads: Uploads
  }>

const submission = {
  ...described,
  headers: submissionHeaders,
  answers: {
    200: {
      ...videoAnswer[200],
      json: CreatedVideoJson,
      headers: {
        ...videoAnswer[200].headers,
        Location: 'the video',
        ...quotaHeadersSay,
        ...repeatedHeaderSays,
      },
    },
  },
  refusals: [...submissionRefusals, 'idempotency_key_reuse'],
} as const

const inferenceHeadersSay = {
  'X-Model': 'what has made it',
  'X-Inference-Time-S': 'how long that took, in seconds',
}

/** What would start from a video rather than from text or an image. */
const notSupported = (id: string) =>
  route({
    tag: 'openai',
    id,
    access: 'client',
    summary: 'Not supported: the model cannot do that',
    answers: {},
    refusals: ['not_supported'],
  })

const refuse = (c: C): never => {
  throw new RefusalError('not_supported', `${c.req.path}: the model cannot do that.`)
}

/** How videos are asked for in the Videos API of OpenAI. */
export function openAiSubmissionRoutes(options: SubmissionRoutesOptions) {
  const {
    queue,
    task,
    maxFrames,
    cancelWithinMs,
    uploads,
    refuseUrl,
    refuseNegativePrompt,
    repeatedJobs,
  } = options
  const { events, syncWaitMs } = options
  const { find, render } = createVideos(options)
  const createVideo = createVideoSchema(task, maxFrames, refuseUrl, refuseNegativePrompt)
  const submit = createSubmit(queue, options)
  const sendVideo = createVideoSender(options)

  return new Hono<ClientEnv>()
    .post(
      '/v1/videos',
      route({
        ...submission,
        id: 'createVideo',
        access: 'client',
        summary: 'Submit a prompt, and perhaps an image to begin with',
        body: createVideo,
        form: true,
      }),
      async (c) => renderTaken(await take(c)),
    )

    .post('/v1/videos/edits', notSupported('editVideo'), refuse)
    .post('/v1/videos/extensions', notSupported('extendVideo'), refuse)
    .post('/v1/videos/characters', notSupported('createCharacter'), refuse)

    .post(
      '/v1/videos/sync',
      route({
        ...submission,
        id: 'createVideoAndWait',
        access: 'client',
        summary: 'Submit, and be given the video itself when it is there',
        details:
          'Closing the connection before cancels the video, unless another request waits for it or received it by its `Idempotency-Key`.',
        body: createVideo,
        form: true,
        answers: {
          200: {
            means: 'The whole file',
            mediaTypes: ['video/mp4'],
            headers: { ...submission.answers[200].headers, ...inferenceHeadersSay },
          },
        },
        refusals: [
          ...submission.refusals,
          ...noFile,
          'video_not_found',
          'video_replaced',
          'video_not_in_time',
          'too_many_watchers',
          'node_away',
        ],
      }),
      async (c) => {
        const taken = await take(c)
        const { id: jobId } = taken.view.job
        const headers = { Location: videoPath(jobId), ...taken.headers }
        for (const [name, value] of Object.entries(headers)) c.header(name, value)
        const ended = await untilOver(c, taken.view)
        const video = finishedVideo(ended)
        const { state } = video
        c.header('X-Model', modelOf(task))
        const tookMs = Math.max(0, state.endedAt - state.startedAt)
        c.header('X-Inference-Time-S', (tookMs / 1_000).toFixed(1))
        const asked = { method: 'GET', headers: {} }
        return sendVideo(c, video, { caching, asked })
      },
    )

    .post(
      '/v1/videos/:id/remix',
      route({
        ...submission,
        id: 'remixVideo',
        access: 'client',
        summary: 'Submit another prompt with everything else as it was',
        params: VideoParams,
        body: RemixBody,
        refusals: [...submission.refusals, ...noFile],
      }),
      async (c) => {
        const source = finishedVideo(await find(c, idOf(c)))
        const { prompt } = parse(RemixBody, await readJson(c), 'unsupported_parameter')
        return renderTaken(await submit(c, remixOf(source, prompt)))
      },
    )

  /** The body of a submission, handed in. */
  function take(c: C): Promise<Submitted> {
    const options = { uploads, imageField: 'input_reference', maxJsonBytes: maxFormBytes }
    return withBody(c, options, async (fields, receive) => {
      const body = await withImage(fields, receive)
      return submit(c, parse(createVideo, body, 'unsupported_parameter'))
    })
  }

  function renderTaken({ view, headers, webhook }: Submitted) {
    const Location = videoPath(view.job.id)
    return render(view, { headers: { Location, ...headers }, webhook })
  }

  /** Its client hung up, this request created the job, and no other request counts on it. */
  async function isOnlyOurs(
    c: C,
    { job: { id: jobId }, repeated }: SubmittedView,
  ): Promise<boolean> {
    if (c.env.outgoing.wasCut || repeated || repeatedJobs.has(jobId)) return false
    // Without an answer, somebody may be waiting: the job is kept.
    const watchers = await ask(events, { type: 'countWatchers', jobId }).catch(() => 1)
    return watchers === 0
  }

  async function untilOver(c: C, view: SubmittedView): Promise<JobView> {
    const { scope } = c.var
    const { id: jobId } = view.job
    const { signal } = c.req.raw
    const waiting = { scope, signal, waitMs: syncWaitMs, find: () => find(c, jobId) }
    const ended = await waitForEnd(events, view, waiting)
    if (ended) return ended
    if (signal.aborted && (await isOnlyOurs(c, view))) {
      const selection = { ids: [jobId] }
      const { requestId } = c.var
      await ask(queue, { type: 'cancel', selection, scope, requestId }, cancelWithinMs)
    }
    throw new RefusalError(
      'video_not_in_time',
      `The video is not finished after ${syncWaitMs / 1_000} seconds. It goes on: see ${videoPath(jobId)}.`,
    )
  }
}

type SubmittedView = Submitted['view']

/** The same in everything but the words: seed, size and length. */
function remixOf({ id, request }: WithFile, prompt: string): VideoDraft {
  const { image, filename: _, metadata: __, ...same } = request
  if (!image) return { ...same, prompt, remixOf: id }
  throw new RefusalError(
    'invalid_request',
    'id: this video was made from an image, which is not kept; create a new one with it',
    { field: 'id' },
  )
}

/** An image may also come within the text: as a data URL, in an object that in a form may be JSON. */
async function withImage(
  fields: Fields,
  receive: (bytes: Buffer) => Promise<ReceivedImage>,
): Promise<Fields> {
  const { input_reference: given } = fields
  if (given === undefined || given instanceof ReceivedImage) return fields
  const reference = {
    input_reference: fromJsonText(given),
  }
  const { image_url } = parse(Reference, reference, 'unsupported_parameter').input_reference
  const bytes = Buffer.from(image_url.slice(image_url.indexOf(',') + 1), 'base64')
  return { ...fields, input_reference: await receive(bytes) }
}

const Reference = v.object({ input_reference: ImageReference })
