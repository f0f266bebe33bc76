import { Hono, type MiddlewareHandler } from 'hono'
import * as v from 'valibot'
import { ask } from '../../actors/actor.ts'
import type { CancelAnswer } from '../../actors/queue/queue-protocol.ts'
import { RefusalError } from '../../domain/errors.ts'
import { jsonBytes } from '../fast/answer.ts'
import type { ClientEnv } from '../request/client-env.ts'
import { route } from '../request/route.ts'
import { orThrow } from '../response/outcome.ts'
import { createPreviewSender, type PreviewSenderOptions } from '../response/send-preview.ts'
import { createVideoSender, type VideoSenderOptions } from '../response/send-video.ts'
import { deletionWithinMs } from '../views/kept-file.ts'
import { videoIdOf } from '../views/video-id.ts'
import { ContentQuery, listVideosQuery } from './schemas.ts'
import { VideoJson } from './video-view.ts'
import {
  caching,
  createVideos,
  described,
  finishedVideo,
  idOf,
  noFile,
  ofOneVideo,
  type VideosOptions,
  videoAnswer,
} from './videos.ts'

export type OpenAiVideoOptions = VideosOptions &
  PreviewSenderOptions &
  VideoSenderOptions &
  Readonly<{
    cancelWithinMs: number
    /** Where long answers wait for each other. */
    lane: MiddlewareHandler<ClientEnv>
  }>

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

const contentTypes = ['video/mp4', 'image/webp']

/** The Videos API of OpenAI, as far as this service can do what it promises: what has been submitted. */
export function openAiVideoRoutes(options: OpenAiVideoOptions) {
  const { queue, archive, estimates, task, cancelWithinMs, lane } = options
  const { find, render, show, tell } = createVideos(options)
  const sendPreview = createPreviewSender(options)
  const sendVideo = createVideoSender(options)

  return new Hono<ClientEnv>()
    .get(
      '/v1/videos',
      route({
        ...described,
        id: 'listOpenAiVideos',
        access: 'client',
        summary: 'Videos, whatever their status, a page at a time',
        query: listVideosQuery(task),
        answers: { 200: { means: 'A page', json: VideoListJson } },
      }),
      lane,
      async (c) => {
        const query = c.req.valid('query')
        const { limit, order, after, status, prompt, prompt_contains } = query
        const page = await ask(archive, {
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
        return jsonBytes(list, 200)
      },
    )

    .get(
      '/v1/videos/:id',
      route({
        ...ofOneVideo,
        id: 'retrieveVideo',
        access: 'client',
        summary: 'How a video stands',
        answers: videoAnswer,
      }),
      (c) => tell(c, idOf(c)),
    )

    .delete(
      '/v1/videos/:id',
      route({
        ...ofOneVideo,
        id: 'deleteVideo',
        access: 'client',
        summary: 'Cancel a video and delete it with its record',
        answers: { 200: { means: 'It is gone', json: DeletedVideoJson } },
        refusals: [...ofOneVideo.refusals, 'job_stopping', 'node_away'],
      }),
      async (c) => {
        const jobId = idOf(c)
        const { scope, requestId } = c.var
        await ask(
          queue,
          { type: 'cancel', selection: { ids: [jobId] }, scope, requestId },
          cancelWithinMs,
        )
        const command = { type: 'remove', jobId, scope, requestId } as const
        orThrow(await ask(archive, command, deletionWithinMs))
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
        access: 'client',
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
        return render(view)
      },
    )

    .get(
      '/v1/videos/:id/content',
      route({
        ...ofOneVideo,
        id: 'downloadVideo',
        access: 'client',
        summary: 'The video, or a picture of it',
        query: ContentQuery,
        answers: {
          200: { means: 'The whole file', mediaTypes: contentTypes },
          206: { means: 'A part of it', mediaTypes: contentTypes },
          304: { means: 'It is the one that you have' },
        },
        refusals: [
          ...noFile,
          'video_not_found',
          'video_replaced',
          'precondition_failed',
          'range_not_satisfiable',
          'node_away',
        ],
      }),
      async (c) => {
        const { variant } = c.req.valid('query')
        const video = finishedVideo(await find(c, idOf(c)))
        if (variant !== 'video') return sendPreview(c, video, variant, caching)
        return sendVideo(c, video, { caching })
      },
    )
}

function assertCanceled({ rest, canceling }: CancelAnswer): void {
  if (rest.length > 0) throw new RefusalError('not_cancellable', 'The video is over already.')
  if (canceling.length === 0) return
  throw new RefusalError('job_stopping', 'The video is being cancelled; try again.')
}
