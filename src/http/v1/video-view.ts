/** How a job looks as a video of OpenAI's: their fields, always all of them, and ours beside them. */
import * as v from 'valibot'
import type { Estimate } from '../../actors/eta/eta-protocol.ts'
import { expiryOf } from '../../actors/janitor/retention-rules.ts'
import { etaSources } from '../../domain/estimate.ts'
import { isOpen, type Job, type JobState, stages, type Timestamp } from '../../domain/job.ts'
import { nativeSize, type WanTask, wanTasks } from '../../domain/wan-tasks.ts'
import { etaJson, MetadataJson, type SeenJob } from '../views/job-view.ts'
import { videoIdOf } from '../views/video-id.ts'
import { Count } from '../views/words.ts'
import { modelOf } from './schemas.ts'

export const VideoJson = v.object({
  id: v.pipe(v.string(), v.description('`video_` and the id of the job')),
  object: v.literal('video'),
  model: v.string(),
  status: v.picklist(['queued', 'in_progress', 'completed', 'failed']),
  progress: v.pipe(v.number(), v.minValue(0), v.maxValue(100)),
  created_at: Count,
  completed_at: v.nullable(Count),
  expires_at: v.nullable(Count),
  prompt: v.string(),
  size: v.string(),
  seconds: v.string(),
  remixed_from_video_id: v.nullable(v.string()),
  error: v.nullable(v.object({ code: v.string(), message: v.string() })),
  queue_position: v.nullable(Count),
  eta_seconds: v.nullable(Count),
  eta_p10_seconds: v.nullable(Count),
  eta_p90_seconds: v.nullable(Count),
  eta_at: v.nullable(Count),
  eta_source: v.nullable(v.picklist(etaSources)),
  stage: v.nullable(v.picklist(stages)),
  step: v.nullable(Count),
  total_steps: Count,
  attempt: Count,
  gpu_id: v.nullable(Count),
  seed: Count,
  num_frames: Count,
  native_size: v.nullable(v.string()),
  started_at: v.nullable(Count),
  cancelled_at: v.nullable(Count),
  metadata: v.nullable(MetadataJson),
})
export type VideoJson = v.InferOutput<typeof VideoJson>

export function videoJson(
  { job, position, reading }: SeenJob,
  {
    task,
    estimate,
    retentionMs,
  }: Readonly<{ task: WanTask; estimate: Estimate | undefined; retentionMs: number }>,
): VideoJson {
  const { id, request, state } = job
  const { prompt, size, frames, steps, seed, image, remixOf } = request
  const { eta_at: _, ...eta } = etaJson(isOpen(job) ? estimate : undefined)
  const converting = state.status === 'running' && state.phase === 'converting'
  return {
    id: videoIdOf(id),
    object: 'video',
    model: modelOf(task),
    status: statusOf(state),
    progress: progressOf(state, estimate),
    created_at: seconds(job.submittedAt),
    completed_at: state.status === 'success' ? seconds(state.endedAt) : null,
    expires_at: secondsOf(expiryOf(job, retentionMs)),
    prompt,
    size,
    seconds: String(Number(((frames - 1) / wanTasks[task].fps).toFixed(2))),
    remixed_from_video_id: remixOf ? videoIdOf(remixOf) : null,
    error: errorOf(state),

    queue_position: position ?? null,
    ...eta,
    eta_at: isOpen(job) ? secondsOf(estimate?.etaAt) : null,
    stage: converting ? 'converting' : (reading?.stage ?? null),
    step: reading?.step ?? null,
    total_steps: steps,
    attempt: job.attempts,
    gpu_id: ('gpu' in state ? state.gpu : null) ?? null,
    seed,
    num_frames: frames,
    // From an image, the video is generated in the image's aspect.
    native_size: image ? null : nativeSize(task, size),
    started_at: secondsOf('startedAt' in state ? state.startedAt : undefined),
    cancelled_at: state.status === 'canceled' ? seconds(state.endedAt) : null,
    metadata: request.metadata ?? null,
  }
}

/** In which a client may come again, by what is known of the end; the client keeps to the first it is told. */
export function pollAfterMs(job: Job, estimate: Estimate | undefined): number | undefined {
  if (!isOpen(job)) return undefined
  const share = ((estimate?.p50 ?? 0) * 1_000) / pollsPerVideo
  return Math.round(Math.min(15_000, Math.max(500, share)))
}

const pollsPerVideo = 50

/** Clients wait for ever on a word that is not among these four. */
function statusOf({ status }: JobState): 'queued' | 'in_progress' | 'completed' | 'failed' {
  switch (status) {
    case 'queued':
      return 'queued'
    case 'running':
      return 'in_progress'
    case 'success':
      return 'completed'
    case 'error':
    case 'canceled':
      return 'failed'
  }
}

function progressOf({ status }: JobState, estimate: Estimate | undefined): number {
  if (status === 'success') return 100
  return Math.min(99, Math.floor(100 * (estimate?.progress ?? 0)))
}

function errorOf(state: JobState) {
  if (state.status === 'canceled') return { code: 'cancelled', message: 'The video was cancelled.' }
  if (state.status !== 'error') return null
  const { code, message } = state.failure
  return { code, message }
}

const seconds = (at: Timestamp): number => Math.floor(at / 1_000)

const secondsOf = (at: Timestamp | undefined): number | null =>
  at === undefined ? null : seconds(at)
