import { Hono } from 'hono'
import { type ActorRef, ask } from '../actors/actor.ts'
import type { QueueMessage } from '../actors/queue/queue-protocol.ts'
import { everything } from '../client.ts'
import type { ClientEnv } from './access.ts'
import { orThrow, parse } from './edge.ts'
import type { FileLinks } from './file-links.ts'
import { hasFile } from './job-view.ts'
import { DeleteVideosQuery, VideosQuery } from './schemas.ts'
import { noVideo, sendFile } from './send-file.ts'

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
