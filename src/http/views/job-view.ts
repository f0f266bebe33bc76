/** How a job looks from outside: snake_case, ISO times, `null` for what is not known. */
import * as v from 'valibot'
import { ActorFailedError, type ActorRef, ask } from '../../actors/actor.ts'
import type { JobDetail } from '../../actors/archive/archive-protocol.ts'
import type { Estimate, EtaMessage } from '../../actors/eta/eta-protocol.ts'
import { expiryOf } from '../../actors/janitor/retention-rules.ts'
import type { JobView } from '../../actors/queue/queue-protocol.ts'
import { etaSources } from '../../domain/estimate.ts'
import {
  fileLosses,
  hasFile,
  imageTypes,
  isOpen,
  type Job,
  type JobId,
  jobStatuses,
  type Reading,
  stages,
  videoSizes,
  type WithFile,
} from '../../domain/job.ts'
import { AttemptJson, attemptsOf, FailureJson, failureJson } from './attempt-view.ts'
import type { FileLinks } from './file-links.ts'
import { NodeNameJson, type NodeOf } from './node-view.ts'
import { WebhookToldJson } from './webhook-view.ts'
import { Count, iso, isoTime, Time, Uuid } from './words.ts'

const FileJson = v.object({
  width: Count,
  height: Count,
  frames: Count,
  duration_seconds: v.number(),
  bytes: Count,
})

export const MetadataJson = v.pipe(
  v.record(v.string(), v.string()),
  v.description('the client’s own notes on it'),
)

/** The middle of what is expected, and an interval that holds four of five outcomes. */
export const EtaJson = v.object({
  eta_seconds: v.nullable(v.pipe(Count, v.description('the middle of what is expected'))),
  eta_p10_seconds: v.nullable(v.pipe(Count, v.description('one in ten is there before'))),
  eta_p90_seconds: v.nullable(v.pipe(Count, v.description('nine in ten are there by then'))),
  eta_at: v.nullable(Time),
  eta_source: v.nullable(
    v.pipe(v.picklist(etaSources), v.description('what the estimate rests on')),
  ),
})

export const JobJson = v.object({
  id: Uuid,
  status: v.picklist(jobStatuses),
  stage: v.nullable(v.picklist(stages)),
  step: v.nullable(Count),
  total_steps: Count,
  progress: v.pipe(
    v.number(),
    v.minValue(0),
    v.maxValue(1),
    v.description('never goes back within an attempt; 1 when the video is there'),
  ),
  ...EtaJson.entries,
  queue_position: v.nullable(v.pipe(Count, v.description('of the next job: 1'))),
  waiting_for: v.pipe(
    v.nullable(v.picklist(['disk', 'environment'])),
    v.description(
      'why no job is started, only while queued: a disk is short of room, or the environment fails; GET /ready says what to do',
    ),
  ),
  gpu_id: v.nullable(Count),
  node: v.nullable(
    v.pipe(NodeNameJson, v.description('the node of `gpu_id`, which has the video and the log')),
  ),
  filename: v.nullable(v.string()),
  file_url: v.nullable(
    v.pipe(
      v.string(),
      v.description('where there are tokens, a link that does without one for a while'),
    ),
  ),
  thumbnail_url: v.nullable(v.pipe(v.string(), v.description('a picture of it, by such a link'))),
  error: v.nullable(FailureJson),
  attempt: Count,
  cancel_requested: v.boolean(),
  cancel_requested_at: v.nullable(Time),
  prompt: v.string(),
  negative_prompt: v.nullable(
    v.pipe(v.string(), v.description('`null`: that of the model’s configuration')),
  ),
  size: v.picklist(videoSizes),
  frames: Count,
  steps: Count,
  guidance: v.nullable(v.number()),
  shift: v.nullable(v.number()),
  seed: Count,
  image: v.nullable(v.object({ type: v.picklist(imageTypes), width: Count, height: Count })),
  metadata: v.nullable(MetadataJson),
  owner: v.nullable(v.pipe(v.string(), v.description('the client whose job it is'))),
  submitted_at: Time,
  started_at: v.nullable(Time),
  ended_at: v.nullable(Time),
  file_deleted_at: v.nullable(
    v.pipe(Time, v.description('time at which the file was deleted, or found to be lost')),
  ),
  file_lost: v.nullable(
    v.pipe(
      v.picklist(fileLosses),
      v.description('reason for a file that is gone although nobody deleted it here'),
    ),
  ),
  pinned: v.pipe(v.boolean(), v.description('it does not expire, however old it gets')),
  expires_at: v.nullable(
    v.pipe(Time, v.description('with `RETENTION_DAYS`: when record, video and log go')),
  ),
  file: v.nullable(FileJson),
})
export type JobJson = v.InferOutput<typeof JobJson>

/** What is told of a job that has just been taken. */
export const AcceptedJson = v.object({
  id: Uuid,
  status: v.picklist(jobStatuses),
  queue_position: v.nullable(v.pipe(Count, v.description('of the next job: 1'))),
  ...EtaJson.entries,
  gpu_assigned: v.pipe(v.null(), v.description('known when the job is claimed: see its status')),
  seed: Count,
  ...v.partial(WebhookToldJson).entries,
})
export type AcceptedJson = v.InferOutput<typeof AcceptedJson>

export const JobDetailJson = v.object({ ...JobJson.entries, attempts: v.array(AttemptJson) })
export type JobDetailJson = v.InferOutput<typeof JobDetailJson>

type FileUrls = Pick<FileLinks, 'urlOf' | 'thumbnailOf'>

export type JobRendererOptions = Readonly<{
  eta: ActorRef<EtaMessage>
  links: FileUrls
  /** How long what is over is kept; 0: for good. */
  retentionMs: number
  nodeOf: NodeOf
}>

export function createJobRenderer({ eta, links, retentionMs, nodeOf }: JobRendererOptions) {
  /** Without an estimate, while its actor is being restarted, a job is still a job. */
  const estimatesOf = async (jobIds: readonly JobId[]): Promise<ReadonlyMap<JobId, Estimate>> => {
    if (jobIds.length === 0) return new Map()
    return ask(eta, { type: 'estimate', jobIds }).catch((error: unknown) => {
      if (error instanceof ActorFailedError) return new Map<JobId, Estimate>()
      throw error
    })
  }

  return {
    estimates: (jobs: readonly Job[]) => estimatesOf(jobs.filter(isOpen).map(({ id }) => id)),

    /** When the first of these running jobs is expected to be over; `null`: nobody knows. */
    async secondsUntilNext(jobIds: readonly JobId[]): Promise<number | null> {
      const known = [...(await estimatesOf(jobIds)).values()].map(({ p50 }) => p50)
      return known.length === 0 ? null : seconds(Math.min(...known))
    },

    job: toJson,

    attempts: (detail: JobDetail) => attemptsOf(detail, nodeOf),
  }

  function toJson(
    { job, position, waitsFor, reading }: SeenJob,
    estimate: Estimate | undefined,
  ): JobJson {
    const { id, request, state } = job
    const { prompt, size, frames, steps, guidance, shift, seed, image, filename: asked } = request
    const gpu = 'gpu' in state ? state.gpu : undefined
    const converting = state.status === 'running' && state.phase === 'converting'
    return {
      id,
      status: state.status,
      stage: converting ? 'converting' : (reading?.stage ?? null),
      step: reading?.step ?? null,
      total_steps: steps,
      progress: state.status === 'success' ? 1 : (estimate?.progress ?? 0),
      // The queue may hold already what the last estimate does not know of yet.
      ...etaJson(isOpen(job) && waitsFor === undefined ? estimate : undefined),
      queue_position: position ?? null,
      waiting_for: waitsFor ?? null,
      gpu_id: gpu ?? null,
      node: gpu === undefined ? null : (nodeOf(gpu) ?? null),
      filename: 'filename' in state ? state.filename : (asked ?? null),
      file_url: hasFile(job) ? links.urlOf(job) : null,
      thumbnail_url: hasFile(job) ? links.thumbnailOf(job) : null,
      error: state.status === 'error' ? failureJson(state.failure) : null,
      attempt: job.attempts,
      cancel_requested: state.status === 'running' && state.cancelRequested,
      cancel_requested_at: iso('cancelRequestedAt' in state ? state.cancelRequestedAt : undefined),
      prompt,
      negative_prompt: request.negativePrompt ?? null,
      size,
      frames,
      steps,
      guidance: guidance ?? null,
      shift: shift ?? null,
      seed,
      image: image ? { type: image.type, width: image.width, height: image.height } : null,
      metadata: request.metadata ?? null,
      owner: job.owner,
      submitted_at: isoTime(job.submittedAt),
      started_at: iso('startedAt' in state ? state.startedAt : undefined),
      ended_at: iso('endedAt' in state ? state.endedAt : undefined),
      file_deleted_at: iso('fileDeletedAt' in state ? state.fileDeletedAt : undefined),
      file_lost: ('fileLost' in state ? state.fileLost : null) ?? null,
      pinned: job.pinnedAt !== undefined,
      expires_at: iso(expiryOf(job, retentionMs)),
      file: hasFile(job) ? fileFacts(job) : null,
    }

    function fileFacts({ state: { video } }: WithFile) {
      const { width, height, frames, durationSeconds, bytes } = video
      return { width, height, frames, duration_seconds: durationSeconds, bytes }
    }
  }
}

/** A job, and what only the queue knows of it. */
export type SeenJob = Readonly<{
  job: Job
  position?: number | undefined
  waitsFor?: JobView['waitsFor'] | undefined
  reading?: Reading | undefined
}>

/** Whole seconds, and at least one: what is not there is not there in no time. */
const seconds = (exact: number): number => Math.max(1, Math.round(exact))

export const etaJson = (estimate: Estimate | undefined) => ({
  eta_seconds: estimate ? seconds(estimate.p50) : null,
  eta_p10_seconds: estimate ? seconds(estimate.p10) : null,
  eta_p90_seconds: estimate ? seconds(estimate.p90) : null,
  eta_at: iso(estimate?.etaAt),
  eta_source: estimate?.source ?? null,
})
