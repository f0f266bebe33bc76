import { type Context, Hono } from 'hono'
import * as v from 'valibot'
import { type ActorRef, ask } from '../../actors/actor.ts'
import type { ArchiveMessage } from '../../actors/archive/archive-protocol.ts'
import { everything } from '../../domain/client.ts'
import { hasExpired, jobNotFound } from '../../domain/errors.ts'
import { hasFile, isExpired, videoSizes } from '../../domain/job.ts'
import { mayHaveFile } from '../../domain/video-file.ts'
import type { ClientEnv } from '../request/client-env.ts'
import { DeleteVideosQuery, IdParam, VideosQuery } from '../request/parameters.ts'
import { route } from '../request/route.ts'
import { found, orThrow } from '../response/outcome.ts'
import { noVideo } from '../response/send-file.ts'
import { createPreviewSender, type PreviewSenderOptions } from '../response/send-preview.ts'
import { createVideoSender, type VideoSenderOptions } from '../response/send-video.ts'
import type { FileLinks } from '../views/file-links.ts'
import {
  deletionWithinMs,
  KeptFilesJson,
  keptFileJson,
  UnconfirmedFilesJson,
  unconfirmedFileJson,
} from '../views/kept-file.ts'
import { Count, Time, Uuid } from '../views/words.ts'

export type VideoRoutesOptions = PreviewSenderOptions &
  VideoSenderOptions &
  Readonly<{
    archive: ActorRef<ArchiveMessage>
    links: Pick<FileLinks, 'urlOf' | 'thumbnailOf'>
    /** Whether others may be shown a file that somebody has downloaded. */
    isPublic: boolean
  }>

const VideoFileJson = v.object({
  filename: v.string(),
  file_url: v.string(),
  thumbnail_url: v.string(),
  id: Uuid,
  prompt: v.string(),
  size: v.picklist(videoSizes),
  seed: Count,
  bytes: Count,
  duration_seconds: v.number(),
  created_at: Time,
})
type VideoFileJson = v.InferOutput<typeof VideoFileJson>

const VideosJson = v.object({
  videos: v.array(VideoFileJson),
  has_more: v.boolean(),
  next_after: v.nullable(Uuid),
})
type VideosJson = v.InferOutput<typeof VideosJson>

const DeletedVideosJson = v.object({
  deleted: v.array(v.object({ id: Uuid, filename: v.string() })),
  not_found: v.pipe(
    v.array(v.string()),
    v.description('never there, or deleted before: a repeated DELETE is harmless'),
  ),
  kept: v.optional(KeptFilesJson),
  unconfirmed: v.optional(UnconfirmedFilesJson),
})
type DeletedVideosJson = v.InferOutput<typeof DeletedVideosJson>

const fileHeaders = {
  ETag: 'stays the same as long as the file does',
  'Last-Modified': 'when it was made',
  'Accept-Ranges': 'bytes',
}

const getFile = {
  access: 'link',
  tag: 'videos',
  summary: 'Download a video',
  details:
    'With `Range`, `If-Range` and the other conditions of HTTP. Without a token by the link in `file_url`.',
  params: v.object({ filename: v.string() }),
  answers: {
    200: { means: 'The whole file', mediaTypes: ['video/mp4'], headers: fileHeaders },
    206: {
      means: 'A part of it',
      mediaTypes: ['video/mp4'],
      headers: { ...fileHeaders, 'Content-Range': 'which' },
    },
    304: { means: 'It is the one that you have' },
  },
  refusals: [
    'video_not_found',
    'video_replaced',
    'video_expired',
    'precondition_failed',
    'range_not_satisfiable',
    'node_away',
  ],
} as const

/** Finished videos: listed, downloaded, deleted. */
export function videoRoutes(options: VideoRoutesOptions) {
  const { archive, links, isPublic } = options
  const sendPreview = createPreviewSender(options)
  const sendVideo = createVideoSender(options)
  return new Hono<ClientEnv>()
    .get(
      '/videos',
      route({
        id: 'listVideos',
        access: 'client',
        tag: 'videos',
        summary: 'The videos that are there, a page at a time',
        query: VideosQuery,
        answers: { 200: { means: 'A page', json: VideosJson } },
      }),
      async (c) => {
        const { after, pinned, ...filter } = c.req.valid('query')
        const page = await ask(archive, {
          type: 'list',
          scope: c.var.scope,
          filter: {
            ...filter,
            withVideo: true,
            ...(after && { after }),
            ...(pinned !== undefined && { pinned }),
          },
        })
        const videos = page.jobs.flatMap(({ job }): VideoFileJson[] => {
          if (!hasFile(job)) return []
          const { filename, video, endedAt } = job.state
          return [
            {
              filename,
              file_url: links.urlOf(job),
              thumbnail_url: links.thumbnailOf(job),
              id: job.id,
              prompt: job.request.prompt,
              size: job.request.size,
              seed: job.request.seed,
              bytes: video.bytes,
              duration_seconds: video.durationSeconds,
              created_at: new Date(endedAt).toISOString(),
            },
          ]
        })
        const answer: VideosJson = {
          videos,
          has_more: page.hasMore,
          next_after: videos.at(-1)?.id ?? null,
        }
        return c.json(answer, 200)
      },
    )

    .delete(
      '/videos',
      route({
        id: 'deleteVideos',
        access: 'client',
        tag: 'videos',
        summary: 'Delete files and keep the records of their jobs',
        details: 'With exactly one of `filenames`, `ids`, `all=true`; the last is for admins.',
        query: DeleteVideosQuery,
        answers: {
          200: {
            means: 'They are deleted, but for those in `kept` and perhaps `unconfirmed`',
            json: DeletedVideosJson,
          },
        },
        refusals: ['forbidden'],
      }),
      async (c) => {
        const { ids, filenames, all } = c.req.valid('query')
        const selection = ids
          ? { ids }
          : filenames
            ? { filenames }
            : { status: ['success' as const] }
        const scope = all ? orThrow(everything(c.var.client)) : c.var.scope
        const { requestId } = c.var
        const command = { type: 'deleteVideos', selection, scope, requestId } as const
        const { deleted, kept, unconfirmed } = await ask(archive, command, deletionWithinMs)
        const found = new Set<string>()
        for (const { jobId, filename } of [...deleted, ...kept, ...unconfirmed]) {
          found.add(jobId).add(filename)
        }
        const answer: DeletedVideosJson = {
          deleted: deleted.map(({ jobId, filename }) => ({ id: jobId, filename })),
          not_found: [...(ids ?? filenames ?? [])].filter((name) => !found.has(name)),
          ...(kept.length > 0 && { kept: kept.map(keptFileJson) }),
          ...(unconfirmed.length > 0 && { unconfirmed: unconfirmed.map(unconfirmedFileJson) }),
        }
        return c.json(answer, 200)
      },
    )

    .get(
      '/jobs/:id/thumbnail',
      route({
        id: 'getThumbnail',
        access: 'link',
        tag: 'videos',
        summary: 'A picture of a video',
        details: 'Without a token by the link in `thumbnail_url`.',
        params: v.object({ id: IdParam }),
        answers: {
          200: { means: 'A frame from its middle', mediaTypes: ['image/webp'] },
          206: { means: 'A part of it', mediaTypes: ['image/webp'] },
          304: { means: 'It is the one that you have' },
        },
        refusals: [
          'job_not_found',
          'job_expired',
          'video_not_found',
          'video_replaced',
          'precondition_failed',
          'range_not_satisfiable',
          'node_away',
        ],
      }),
      async (c) => {
        const { id: jobId } = c.req.valid('param')
        const view = await ask(archive, { type: 'find', jobId, scope: c.var.scope })
        const { job } = found(view, () => jobNotFound(jobId))
        if (!mayHaveFile(job)) throw noVideo(jobId)
        // Another video is another job's.
        return sendPreview(c, job, 'thumbnail', cachingFor('max-age=31536000, immutable'))
      },
    )

    .get('/files/:filename', route({ ...getFile, id: 'getFile' }), (c) =>
      fileOf(c, c.req.valid('param').filename),
    )
    .on('HEAD', '/files/:filename', route({ ...getFile, id: 'describeFile' }), (c) =>
      fileOf(c, c.req.valid('param').filename),
    )

  async function fileOf(c: Context<ClientEnv>, filename: string): Promise<Response> {
    const job = await ask(archive, { type: 'findVideo', filename, scope: c.var.scope })
    if (isExpired(job)) throw hasExpired(job, 'video_expired')
    if (!job || !mayHaveFile(job) || job.state.filename !== filename) throw noVideo(filename)
    // A name we made is never made again; one that was asked for may be, once its video is deleted.
    const age =
      job.request.filename === undefined
        ? 'max-age=31536000, immutable'
        : 'max-age=3600, must-revalidate'
    return sendVideo(c, job, { caching: cachingFor(age) })
  }

  function cachingFor(age: string): Record<string, string> {
    return isPublic
      ? { 'Cache-Control': `public, ${age}` }
      : { 'Cache-Control': `private, ${age}`, Vary: 'Authorization' }
  }
}
