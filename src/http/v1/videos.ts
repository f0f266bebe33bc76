/** What the routes of `/v1/videos` have in common. */
import type { Context } from 'hono'
import * as v from 'valibot'
import { type ActorRef, ask } from '../../actors/actor.ts'
import type { ArchiveMessage } from '../../actors/archive/archive-protocol.ts'
import type { Estimate } from '../../actors/eta/eta-protocol.ts'
import type { JobView, QueueMessage } from '../../actors/queue/queue-protocol.ts'
import { nameOf } from '../../domain/client.ts'
import { lostVideo, RefusalError } from '../../domain/errors.ts'
import type { JobId } from '../../domain/job.ts'
import { hasFile, type WithFile } from '../../domain/job.ts'
import type { WanTask } from '../../domain/wan-tasks.ts'
import { json, jsonText, type Written } from '../fast/answer.ts'
import { sharing } from '../fast/share.ts'
import type { ClientEnv } from '../request/client-env.ts'
import type { Submitted } from '../request/submit.ts'
import { found } from '../response/outcome.ts'
import type { createJobRenderer, SeenJob } from '../views/job-view.ts'
import { videoIdOf } from '../views/video-id.ts'
import { WebhookToldJson } from '../views/webhook-view.ts'
import { VideoId } from './schemas.ts'
import { pollAfterMs, VideoJson, videoJson } from './video-view.ts'

export type C = Context<ClientEnv>

export type VideosOptions = Pick<ReturnType<typeof createJobRenderer>, 'estimates'> &
  Readonly<{
    queue: ActorRef<QueueMessage>
    archive: ActorRef<ArchiveMessage>
    task: WanTask
    /** How long what is over is kept; 0: for good. */
    retentionMs: number
  }>

/** With `webhook_url`, its answer says what signs what that is told. */
export const CreatedVideoJson = v.object({
  ...VideoJson.entries,
  ...v.partial(WebhookToldJson).entries,
})
type CreatedVideoJson = v.InferOutput<typeof CreatedVideoJson>

/** What is no id at all is the id of no video, and so no bad request. */
export const VideoParams = v.object({ id: v.pipe(v.string(), v.description('`video_…`')) })

export const described = { tag: 'openai', unknown: 'unsupported_parameter' } as const

export const ofOneVideo = {
  ...described,
  params: VideoParams,
  refusals: ['job_not_found', 'video_expired'],
} as const

export const videoAnswer = {
  200: {
    means: 'The video',
    json: VideoJson,
    headers: { 'openai-poll-after-ms': 'when it is worth asking again' },
  },
} as const

/** Why there is none, or none any more. */
export const noFile = ['job_not_found', 'video_not_ready', 'video_failed', 'video_expired'] as const

/** Whoever may see it may keep it, and nobody on the way; a deleted one is asked for in vain. */
export const caching = { 'Cache-Control': 'private, no-cache' }

/** Finds videos, and shows them as OpenAI's clients expect. */
export function createVideos({ archive, estimates, task, retentionMs }: VideosOptions) {
  const show = (view: SeenJob, estimate: Estimate | undefined) =>
    videoJson(view, { task, estimate, retentionMs })

  const share = sharing<Written>()

  return { find, render, show, tell }

  async function find(c: C, jobId: JobId): Promise<JobView> {
    const view = await ask(archive, { type: 'find', jobId, scope: c.get('scope') })
    return found(view, () => videoNotFound(videoIdOf(jobId)))
  }

  /** How the video stands. */
  async function tell(c: C, jobId: JobId) {
    const { text, headers } = await share(`${jobId} ${nameOf(c.get('scope'))}`, async () => {
      const view = await find(c, jobId)
      const estimate = await estimateOf(view)
      return { text: JSON.stringify(show(view, estimate)), headers: pollHeaders(view, estimate) }
    })
    return jsonText<VideoJson, 200>(text, 200, headers)
  }

  /** What has just become of the video. */
  async function render(
    view: JobView,
    { headers, webhook }: Partial<Omit<Submitted, 'view'>> = {},
  ) {
    const estimate = await estimateOf(view)
    const video: CreatedVideoJson = { ...show(view, estimate), ...webhook }
    return json(video, 200, { ...headers, ...pollHeaders(view, estimate) })
  }

  async function estimateOf({ job }: JobView): Promise<Estimate | undefined> {
    return (await estimates([job])).get(job.id)
  }
}

function pollHeaders({ job }: JobView, estimate: Estimate | undefined): Record<string, string> {
  const pollAfter = pollAfterMs(job, estimate)
  return pollAfter === undefined ? {} : { 'openai-poll-after-ms': String(pollAfter) }
}

export const videoPath = (jobId: JobId): string => `/v1/videos/${videoIdOf(jobId)}`

/** What is no id at all is the id of no video. */
export function idOf(c: C): JobId {
  const given = c.req.param('id') ?? ''
  const id = v.safeParse(VideoId, given)
  if (id.success) return id.output
  throw videoNotFound(given)
}

const videoNotFound = (id: string): RefusalError =>
  new RefusalError('job_not_found', `There is no video "${id}".`, { field: 'id' })

/** The finished video, or why there is none. */
export function finishedVideo({ job }: JobView): WithFile {
  if (hasFile(job)) return job
  switch (job.state.status) {
    case 'queued':
    case 'running':
      throw new RefusalError('video_not_ready', 'The video is not finished yet.')
    case 'success':
      if (job.state.fileLost) throw lostVideo(job.state.fileLost)
      throw new RefusalError('video_expired', 'The file of this video has been deleted.')
    case 'error':
    case 'canceled':
      throw new RefusalError('video_failed', 'This video has failed; its status says why.')
  }
}
