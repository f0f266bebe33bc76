import { lstat } from 'node:fs/promises'
import type { IncomingMessage } from 'node:http'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import send from '@fastify/send'
import { type Context, Hono } from 'hono'
import { type ActorRef, ask } from '../actors/actor.ts'
import type { QueueMessage } from '../actors/queue/queue-protocol.ts'
import { everything } from '../client.ts'
import { RefusalError } from '../errors.ts'
import type { ClientEnv } from './access.ts'
import { orThrow, parse } from './edge.ts'
import type { FileLinks } from './file-links.ts'
import { hasFile } from './job-view.ts'
import { DeleteVideosQuery, VideosQuery } from './schemas.ts'

export type VideoRoutesOptions = Readonly<{
  queue: ActorRef<QueueMessage>
  resultsDir: string
  links: Pick<FileLinks, 'urlOf'>
  /** Whether others may be shown a file that somebody has downloaded. */
  isPublic: boolean
}>

/** Finished videos: listed, downloaded, deleted. */
export function videoRoutes({ queue, resultsDir, links, isPublic }: VideoRoutesOptions) {
  return new Hono<ClientEnv>()
    .get('/videos', async (c) => {
      const { order, limit, after } = parse(VideosQuery, c.req.query())
      const page = await ask(queue, {
        type: 'list',
        scope: c.var.scope,
        filter: { order, limit, withVideo: true, ...(after && { after }) },
      })
      const videos = page.jobs.flatMap(({ job }) => {
        if (!hasFile(job)) return []
        const { filename, video, endedAt } = job.state
        return [
          {
            filename,
            file_url: links.urlOf(job),
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
      return c.json({ videos, has_more: page.hasMore, next_after: videos.at(-1)?.id ?? null })
    })

    .delete('/videos', async (c) => {
      const { ids, filenames, all } = parse(DeleteVideosQuery, c.req.query())
      const selection = ids ? { ids } : filenames ? { filenames } : { status: ['success' as const] }
      const scope = all ? orThrow(everything(c.var.client)) : c.var.scope
      const deleted = await ask(queue, { type: 'deleteVideos', selection, scope }, 60_000)
      const gone = new Set(deleted.flatMap(({ jobId, filename }) => [jobId as string, filename]))
      return c.json({
        deleted: deleted.map(({ jobId, filename }) => ({ id: jobId, filename })),
        // Never there, or deleted before: a repeated DELETE is harmless.
        not_found: [...(ids ?? filenames ?? [])].filter((name) => !gone.has(name)),
      })
    })

    .on(['GET', 'HEAD'], '/files/:filename', async (c) => {
      const filename = c.req.param('filename')
      const job = await ask(queue, { type: 'findVideo', filename, scope: c.var.scope })
      if (!job || !hasFile(job) || job.state.filename !== filename) throw noVideo(filename)
      await assertPlainFile(join(resultsDir, filename), filename)
      // A name we made is never made again; one that was asked for may be, once its video is deleted.
      const age =
        job.request.filename === undefined
          ? 'max-age=31536000, immutable'
          : 'max-age=3600, must-revalidate'
      const caching = isPublic
        ? { 'Cache-Control': `public, ${age}` }
        : { 'Cache-Control': `private, ${age}`, Vary: 'Authorization' }
      return sendFile(c, resultsDir, filename, caching)
    })
}

const noVideo = (filename: string) =>
  new RefusalError('video_not_found', `There is no video named "${filename}".`, {
    field: 'filename',
  })

/** What was put there in the place of ours, a link out of the directory above all, is not served. */
async function assertPlainFile(path: string, filename: string): Promise<void> {
  const found = await lstat(path).catch(() => undefined)
  if (!found?.isFile()) throw noVideo(filename)
}

/** Ranges, validators and HEAD are the library's. */
async function sendFile(
  c: Context,
  root: string,
  filename: string,
  caching: Record<string, string>,
): Promise<Response> {
  const request = { method: c.req.method, headers: withWeakIfRange(c.req.header()) }
  // What it looks at is method and headers, of which a request of Node is only one that has them.
  const { statusCode, headers, stream } = await send(
    request as unknown as IncomingMessage,
    encodeURIComponent(filename),
    { root, dotfiles: 'deny', index: false, cacheControl: false },
  )
  if (statusCode === 416) {
    c.header('Content-Range', headers['Content-Range'])
    throw new RefusalError('range_not_satisfiable', 'The range begins behind the end of the file.')
  }
  if (statusCode === 412) {
    throw new RefusalError('precondition_failed', 'The file is not the one the request is about.')
  }
  if (statusCode >= 400) throw noVideo(filename)

  const { ETag, ...rest } = headers
  const isEmpty = c.req.method === 'HEAD' || statusCode === 304
  return new Response(isEmpty ? null : (Readable.toWeb(stream) as ReadableStream), {
    status: statusCode,
    headers: {
      ...rest,
      ...(ETag && { ETag: ETag.replace(/^W\//, '') }),
      ...caching,
      // Pages may show a video that they have a link to, and so may the browser by itself.
      'Cross-Origin-Resource-Policy': 'cross-origin',
      'Content-Security-Policy': "default-src 'none'; media-src 'self'; style-src 'unsafe-inline'",
      'Content-Disposition': `inline; filename*=UTF-8''${encodeURIComponent(filename)}`,
    },
  })
}

/**
 * The library's validator is a weak one, but a published file never changes: we give it out as a
 * strong one, so that clients may resume downloads with it, and turn it back for the library.
 */
function withWeakIfRange(headers: Record<string, string>): Record<string, string> {
  const ifRange = headers['if-range']
  if (!ifRange?.includes('"')) return headers
  return { ...headers, 'if-range': ifRange.startsWith('W/') ? '"weak"' : `W/${ifRange}` }
}
