import { type Context, Hono } from 'hono'
import * as v from 'valibot'
import { type ActorRef, ask } from '../../actors/actor.ts'
import type { Estimate } from '../../actors/eta/eta-protocol.ts'
import type { EventMessage } from '../../actors/event/event-protocol.ts'
import type { CancelAnswer, JobView, QueueMessage } from '../../actors/queue/queue-protocol.ts'
import { RefusalError } from '../../errors.ts'
import type { JobId, VideoDraft, VideoFacts } from '../../job.ts'
import type { WanTask } from '../../wan-tasks.ts'
import type { ClientEnv } from '../access.ts'
import { found, orThrow, parse, readJson, repeatedHeaderSays } from '../edge.ts'
import { fromJsonText, type RefuseUrl } from '../fields.ts'
import { type Fields, largestForm, ReceivedImage, type Uploads, withBody } from '../form.ts'
import { type createJobRenderer, hasFile, type WithFile } from '../job-view.ts'
import { waitForEnd } from '../long-poll.ts'
import { quotaHeadersSay } from '../problem.ts'
import { route, submissionHeaders, submissionRefusals } from '../route.ts'
import { type Downloads, sendFile } from '../send-file.ts'
import { createSubmit, type Submitted } from '../submit.ts'
import { WebhookToldJson } from '../webhook-view.ts'
import {
  ContentQuery,
  createVideoSchema,
  ImageReference,
  listVideosQuery,
  modelOf,
  RemixBody,
  VideoId,
  videoIdOf,
} from './schemas.ts'
import { pollAfterMs, VideoJson, videoJson } from './video-view.ts'

export type OpenAiVideoOptions = Pick<
  ReturnType<typeof createJobRenderer>,
  'estimates' | 'secondsUntilNext'
> &
  Readonly<{
    queue: ActorRef<QueueMessage>
    events: ActorRef<EventMessage>
    refuseUrl: RefuseUrl
    task: WanTask
    maxFrames: number
    cancelWithinMs: number
    /** How long whoever wants the video itself is kept waiting for it. */
    syncWaitMs: number
    uploads: Uploads
    resultsDir: string
    previewsDir: string
    previews: Previews
    downloads: Downloads
    /** How long what is over is kept; 0: for good. */
    retentionMs: number
  }>

export type Previews = {
  /** The name of the file in `previewsDir`; made when it is first asked for. */
  of(
    video: Readonly<{ jobId: JobId; filename: string; facts: VideoFacts }>,
    kind: 'thumbnail' | 'spritesheet',
  ): Promise<string>
}

/** With `webhook_url`, its answer says what signs what that is told. */
const CreatedVideoJson = v.object({ ...VideoJson.entries, ...v.partial(WebhookToldJson).entries })
type CreatedVideoJson = v.InferOutput<typeof CreatedVideoJson>

type C = Context<ClientEnv>

const VideoListJson = v.object({
  object: v.literal('list'),
  data: v.array(VideoJson),
  first_id: v.nullable(v.string()),
  last_id: v.nullable(v.string()),
  has_more: v.boolean(),
})
type VideoListJson = v.InferOutput<typeof VideoListJson>

const DeletedVideoJson = v.object({
  id: v.string(),
  object: v.literal('video.deleted'),
  deleted: v.literal(true),
})
type DeletedVideoJson = v.InferOutput<typeof DeletedVideoJson>

/** What is no id at all is the id of no video, and so no bad request. */
const VideoParams = v.object({ id: v.pipe(v.string(), v.description('`video_…`')) })

const described = { tag: 'openai', unknown: 'unsupported_parameter' } as const

const ofOneVideo = {
  ...described,
  params: VideoParams,
  refusals: ['job_not_found', 'video_expired'],
} as const

const videoAnswer = {
  200: {
    means: 'The video',
    json: VideoJson,
    headers: { 'openai-poll-after-ms': 'when it is worth asking again' },
  },
} as const

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

/** Why there is none, or none any more. */
const noFile = ['job_not_found', 'video_not_ready', 'video_failed', 'video_expired'] as const

const inferenceHeadersSay = {
  'X-Model': 'what has made it',
  'X-Inference-Time-S': 'how long that took, in seconds',
}

const contentTypes = ['video/mp4', 'image/webp']

/** What would start from a video rather than from text or an image. */
const notSupported = (id: string) =>
  route({
    tag: 'openai',
    id,
    summary: 'Not supported: the model cannot do that',
    answers: {},
    refusals: ['not_supported'],
  })

const refuse = (c: C): never => {
  throw new RefusalError('not_supported', `${c.req.path}: the model cannot do that.`)
}

/** The Videos API of OpenAI, as far as this service can do what it promises. */
export function openAiVideoRoutes(options: OpenAiVideoOptions) {
  const { queue, estimates, task, maxFrames, cancelWithinMs, uploads } = options
  const { resultsDir, previewsDir, previews, refuseUrl, secondsUntilNext } = options
  const { events, syncWaitMs, downloads, retentionMs } = options
  const createVideo = createVideoSchema(task, maxFrames, refuseUrl)
  const submit = createSubmit(queue, { secondsUntilNext })

  const show = (view: JobView, estimate: Estimate | undefined) =>
    videoJson(view, { task, estimate, retentionMs })

  return new Hono<ClientEnv>()
    .post(
      '/v1/videos',
      route({
        ...submission,
        id: 'createVideo',
        summary: 'Submit a prompt, and perhaps an image to begin with',
        body: createVideo,
        form: true,
      }),
      async (c) => renderTaken(c, await take(c)),
    )

    .get(
      '/v1/videos',
      route({
        ...described,
        id: 'listOpenAiVideos',
        summary: 'Videos, whatever their status, a page at a time',
        query: listVideosQuery(task),
        answers: { 200: { means: 'A page', json: VideoListJson } },
      }),
      async (c) => {
        const query = c.req.valid('query')
        const { limit, order, after, status, prompt, prompt_contains } = query
        const page = await ask(queue, {
          type: 'list',
          scope: c.var.scope,
          filter: {
            limit,
            order,
            ...(after && { after }),
            ...(status && { status }),
            ...(prompt !== undefined && { prompt }),
            ...(prompt_contains !== undefined && { promptContains: prompt_contains }),
            ...(query.created_after !== undefined && { submittedAfter: query.created_after }),
            ...(query.created_before !== undefined && { submittedBefore: query.created_before }),
          },
        })
        const estimated = await estimates(page.jobs.map(({ job }) => job))
        const data = page.jobs.map((view) => show(view, estimated.get(view.job.id)))
        const ids = data.map(({ id }) => id)
        const [first_id, last_id] = [ids.at(0) ?? null, ids.at(-1) ?? null]
        const list: VideoListJson = {
          object: 'list',
          data,
          first_id,
          last_id,
          has_more: page.hasMore,
        }
        return c.json(list, 200)
      },
    )

    .post('/v1/videos/edits', notSupported('editVideo'), refuse)
    .post('/v1/videos/extensions', notSupported('extendVideo'), refuse)
    .post('/v1/videos/characters', notSupported('createCharacter'), refuse)

    .post(
      '/v1/videos/sync',
      route({
        ...submission,
        id: 'createVideoAndWait',
        summary: 'Submit, and be given the video itself when it is there',
        details: 'Whoever hangs up before cancels it.',
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
          'video_not_in_time',
          'too_many_watchers',
        ],
      }),
      async (c) => {
        const taken = await take(c)
        const { id: jobId } = taken.view.job
        const headers = { Location: addressOf(jobId), ...taken.headers }
        for (const [name, value] of Object.entries(headers)) c.header(name, value)
        const ended = await untilOver(c, taken.view)
        const { state } = videoOf(ended)
        c.header('X-Model', modelOf(task))
        c.header('X-Inference-Time-S', ((state.endedAt - state.startedAt) / 1_000).toFixed(1))
        const asked = { method: 'GET', headers: {} }
        return sendFile(c, {
          root: resultsDir,
          filename: state.filename,
          caching,
          downloads,
          asked,
        })
      },
    )

    .get(
      '/v1/videos/:id',
      route({
        ...ofOneVideo,
        id: 'retrieveVideo',
        summary: 'How a video stands',
        answers: videoAnswer,
      }),
      async (c) => render(c, await find(c, idOf(c))),
    )

    .delete(
      '/v1/videos/:id',
      route({
        ...ofOneVideo,
        id: 'deleteVideo',
        summary: 'Cancel a video and delete it with its record',
        answers: { 200: { means: 'It is gone', json: DeletedVideoJson } },
        refusals: [...ofOneVideo.refusals, 'job_stopping'],
      }),
      async (c) => {
        const jobId = idOf(c)
        const { scope, requestId } = c.var
        await ask(
          queue,
          { type: 'cancel', selection: { ids: [jobId] }, scope, requestId },
          cancelWithinMs,
        )
        orThrow(await ask(queue, { type: 'remove', jobId, scope, requestId }))
        const answer: DeletedVideoJson = {
          id: videoIdOf(jobId),
          object: 'video.deleted',
          deleted: true,
        }
        return c.json(answer, 200)
      },
    )

    .post(
      '/v1/videos/:id/cancel',
      route({
        ...ofOneVideo,
        id: 'cancelVideo',
        summary: 'Cancel a video',
        answers: videoAnswer,
        refusals: [...ofOneVideo.refusals, 'job_stopping', 'not_cancellable'],
      }),
      async (c) => {
        const jobId = idOf(c)
        const { scope, requestId } = c.var
        const selection = { ids: [jobId] }
        const answer = await ask(
          queue,
          { type: 'cancel', selection, scope, requestId },
          cancelWithinMs,
        )
        const view = await find(c, jobId)
        assertCanceled(answer)
        return render(c, view)
      },
    )

    .post(
      '/v1/videos/:id/remix',
      route({
        ...submission,
        id: 'remixVideo',
        summary: 'Submit another prompt with everything else as it was',
        params: VideoParams,
        body: RemixBody,
        refusals: [...submission.refusals, ...noFile],
      }),
      async (c) => {
        const source = videoOf(await find(c, idOf(c)))
        const { prompt } = parse(RemixBody, await readJson(c), 'unsupported_parameter')
        return renderTaken(c, await submit(c, remixOf(source, prompt)))
      },
    )

    .get(
      '/v1/videos/:id/content',
      route({
        ...ofOneVideo,
        id: 'downloadVideo',
        summary: 'The video, or a picture of it',
        query: ContentQuery,
        answers: {
          200: { means: 'The whole file', mediaTypes: contentTypes },
          206: { means: 'A part of it', mediaTypes: contentTypes },
          304: { means: 'It is the one that you have' },
        },
        refusals: [...noFile, 'video_not_found', 'precondition_failed', 'range_not_satisfiable'],
      }),
      async (c) => {
        const { variant } = c.req.valid('query')
        const { id: jobId, state } = videoOf(await find(c, idOf(c)))
        const { filename, video: facts } = state
        if (variant === 'video')
          return sendFile(c, { root: resultsDir, filename, caching, downloads })
        const name = await previews.of({ jobId, filename, facts }, variant)
        return sendFile(c, { root: previewsDir, filename: name, caching })
      },
    )

  /** The body of a submission, handed in. */
  function take(c: C): Promise<Submitted> {
    const options = { uploads, imageField: 'input_reference', largestJson: largestForm }
    return withBody(c, options, async (fields, receive) => {
      const body = await withImage(fields, receive)
      return submit(c, parse(createVideo, body, 'unsupported_parameter'))
    })
  }

  function renderTaken(c: C, { view, headers, webhook }: Submitted) {
    const Location = addressOf(view.job.id)
    return render(c, view, { headers: { Location, ...headers }, webhook })
  }

  async function untilOver(c: C, view: JobView): Promise<JobView> {
    const { scope } = c.var
    const { id: jobId } = view.job
    const { signal } = c.req.raw
    const waiting = { scope, signal, waitMs: syncWaitMs, find: () => find(c, jobId) }
    const ended = await waitForEnd(events, view, waiting)
    if (ended) return ended
    if (signal.aborted)
      await ask(
        queue,
        { type: 'cancel', selection: { ids: [jobId] }, scope, requestId: c.var.requestId },
        cancelWithinMs,
      )
    throw new RefusalError(
      'video_not_in_time',
      `The video is not finished after ${syncWaitMs / 1_000} seconds. It goes on: see ${addressOf(jobId)}.`,
    )
  }

  async function find(c: C, jobId: JobId): Promise<JobView> {
    const view = await ask(queue, { type: 'find', jobId, scope: c.var.scope })
    return found(view, () => noVideo(videoIdOf(jobId)))
  }

  async function render(
    c: C,
    view: JobView,
    { headers, webhook }: Partial<Omit<Submitted, 'view'>> = {},
  ) {
    const estimate = (await estimates([view.job])).get(view.job.id)
    const pollAfter = pollAfterMs(view.job, estimate)
    const video: CreatedVideoJson = { ...show(view, estimate), ...webhook }
    return c.json(video, 200, {
      ...headers,
      ...(pollAfter !== undefined && { 'openai-poll-after-ms': String(pollAfter) }),
    })
  }
}

const addressOf = (jobId: JobId): string => `/v1/videos/${videoIdOf(jobId)}`

/** Whoever may see it may keep it, and nobody on the way; a deleted one is asked for in vain. */
const caching = { 'Cache-Control': 'private, no-cache' }

/** What is no id at all is the id of no video. */
function idOf(c: C): JobId {
  const given = c.req.param('id') ?? ''
  const id = v.safeParse(VideoId, given)
  if (id.success) return id.output
  throw noVideo(given)
}

const noVideo = (id: string): RefusalError =>
  new RefusalError('job_not_found', `There is no video "${id}".`, { field: 'id' })

function assertCanceled({ rest, canceling }: CancelAnswer): void {
  if (rest.length > 0) throw new RefusalError('not_cancellable', 'The video is over already.')
  if (canceling.length === 0) return
  throw new RefusalError('job_stopping', 'The video is being cancelled; try again.')
}

/** The finished video, or why there is none. */
function videoOf({ job }: JobView): WithFile {
  if (hasFile(job)) return job
  switch (job.state.status) {
    case 'queued':
    case 'running':
      throw new RefusalError('video_not_ready', 'The video is not finished yet.')
    case 'success':
      throw new RefusalError('video_expired', 'The file of this video has been deleted.')
    case 'error':
    case 'canceled':
      throw new RefusalError('video_failed', 'This video has failed; its status says why.')
  }
}

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
