/** Files of this machine for the leader, which has found that its client may have them. */
import { Hono } from 'hono'
import * as v from 'valibot'
import { jobNotFound } from '../../domain/errors.ts'
import type { Job, JobId } from '../../domain/job.ts'
import { mayHaveFile } from '../../domain/video-file.ts'
import type { ClientEnv } from '../request/client-env.ts'
import { parse } from '../request/edge.ts'
import { IdParam } from '../request/parameters.ts'
import { sendLog } from '../response/send-log.ts'
import { createPreviewSender, type PreviewSenderOptions } from '../response/send-preview.ts'
import { createVideoSender, type VideoSenderOptions } from '../response/send-video.ts'

export type FilesForNodesOptions = Omit<
  PreviewSenderOptions & VideoSenderOptions,
  'archive' | 'nodeFiles'
> &
  Readonly<{
    /** The job as it is stored. */
    find(jobId: JobId): Promise<Job | undefined>
    logPath(jobId: JobId): string
  }>

const Params = v.object({ id: IdParam })

/** The leader has headers of its own for its client. */
const caching = {}

export function filesForNodes({ find, logPath, ...files }: FilesForNodesOptions) {
  const sendVideo = createVideoSender(files)
  const sendPreview = createPreviewSender(files)
  const video = async (id: string) => {
    const { id: jobId } = parse(Params, { id })
    const job = await find(jobId)
    if (!job || !mayHaveFile(job)) throw jobNotFound(jobId)
    return job
  }

  return new Hono<ClientEnv>()
    .get('/internal/jobs/:id/video', async (c) =>
      sendVideo(c, await video(c.req.param('id')), { caching }),
    )
    .get('/internal/jobs/:id/thumbnail', async (c) =>
      sendPreview(c, await video(c.req.param('id')), 'thumbnail', caching),
    )
    .get('/internal/jobs/:id/spritesheet', async (c) =>
      sendPreview(c, await video(c.req.param('id')), 'spritesheet', caching),
    )
    .get('/internal/jobs/:id/log', (c) => {
      const { id } = parse(Params, c.req.param())
      return sendLog(c, logPath(id))
    })
}
