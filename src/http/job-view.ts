/** How a job looks from outside: snake_case, ISO times, `null` for what is not known. */
import { ActorFailedError, type ActorRef, ask } from '../actors/actor.ts'
import type { Estimate, EtaMessage } from '../actors/eta/eta-protocol.ts'
import type { JobDetail, JobView } from '../actors/queue/queue-protocol.ts'
import { type Attempt, isOpen, type Job, type JobId, stages, type Timestamp } from '../job.ts'
import type { FileLinks } from './file-links.ts'

export type JobJson = ReturnType<ReturnType<typeof createJobRenderer>['job']>

export function createJobRenderer(eta: ActorRef<EtaMessage>, links: Pick<FileLinks, 'urlOf'>) {
  return {
    /** Without an estimate, while its actor is being restarted, a job is still a job. */
    async estimates(jobs: readonly Job[]): Promise<ReadonlyMap<JobId, Estimate>> {
      const jobIds = jobs.filter(isOpen).map(({ id }) => id)
      if (jobIds.length === 0) return new Map()
      return ask(eta, { type: 'estimate', jobIds }).catch((error: unknown) => {
        if (error instanceof ActorFailedError) return new Map<JobId, Estimate>()
        throw error
      })
    },

    job({ job, position, reading }: JobView, estimate: Estimate | undefined) {
      const { id, request, state } = job
      const { prompt, size, frames, steps, guidance, shift, seed, image, filename: asked } = request
      const converting = state.status === 'running' && state.phase === 'converting'
      return {
        id,
        status: state.status,
        stage: converting ? 'converting' : (reading?.stage ?? null),
        step: reading?.step ?? null,
        total_steps: steps,
        progress: state.status === 'success' ? 1 : (estimate?.progress ?? 0),
        ...etaJson(isOpen(job) ? estimate : undefined),
        queue_position: position ?? null,
        gpu_id: ('gpu' in state ? state.gpu : null) ?? null,
        filename: 'filename' in state ? state.filename : (asked ?? null),
        file_url: hasFile(job) ? links.urlOf(job) : null,
        error: state.status === 'error' ? errorOf(state.failure) : null,
        attempt: job.attempts,
        cancel_requested: state.status === 'running' && state.cancelRequested,
        cancel_requested_at: iso(
          'cancelRequestedAt' in state ? state.cancelRequestedAt : undefined,
        ),
        prompt,
        size,
        frames,
        steps,
        guidance: guidance ?? null,
        shift: shift ?? null,
        seed,
        image: image ? { type: image.type, width: image.width, height: image.height } : null,
        owner: job.owner,
        submitted_at: iso(job.submittedAt),
        started_at: iso('startedAt' in state ? state.startedAt : undefined),
        ended_at: iso('endedAt' in state ? state.endedAt : undefined),
        file_deleted_at: iso('fileDeletedAt' in state ? state.fileDeletedAt : undefined),
        file: hasFile(job) ? fileFacts(job) : null,
      }

      function fileFacts({ state: { video } }: WithFile) {
        const { width, height, frames, durationSeconds, bytes } = video
        return { width, height, frames, duration_seconds: durationSeconds, bytes }
      }
    },

    attempts: ({ attempts }: JobDetail) => attempts.map(attemptJson),
  }
}

export type WithFile = Job & { state: Extract<Job['state'], { status: 'success' }> }

export const hasFile = (job: Job): job is WithFile =>
  job.state.status === 'success' && job.state.fileDeletedAt === undefined

/** Whole seconds, and at least one: what is not there is not there in no time. */
const seconds = (exact: number): number => Math.max(1, Math.round(exact))

export const etaJson = (estimate: Estimate | undefined) => ({
  eta_seconds: estimate ? seconds(estimate.p50) : null,
  eta_p10_seconds: estimate ? seconds(estimate.p10) : null,
  eta_p90_seconds: estimate ? seconds(estimate.p90) : null,
  eta_at: iso(estimate?.etaAt),
  eta_source: estimate?.source ?? null,
})

const attemptJson = ({ number, epoch, gpu, outcome, failure, trace, ...times }: Attempt) => ({
  attempt: number,
  epoch,
  gpu_id: gpu,
  outcome: outcome ?? null,
  error: failure ? errorOf(failure) : null,
  claimed_at: iso(times.claimedAt),
  started_at: iso(times.startedAt),
  generated_at: iso(times.generatedAt),
  ended_at: iso(times.endedAt),
  stages: stagesOf({ trace, ...times }),
  seconds_per_step: trace?.secondsPerStep ?? null,
  peak_vram_bytes: trace?.peakVramBytes ?? null,
})

/** Where the time went: each stage that was seen to begin, until the next did. */
function stagesOf({
  trace,
  claimedAt,
  generatedAt,
  endedAt,
}: Pick<Attempt, 'claimedAt' | 'generatedAt' | 'endedAt'> & {
  trace: Attempt['trace'] | undefined
}) {
  const began = { ...trace?.began, loading: claimedAt, converting: generatedAt }
  const seen = stages.flatMap((stage) => {
    const at = began[stage]
    return at === undefined ? [] : [{ stage, at }]
  })
  return seen.map(({ stage, at }, index) => {
    const until = seen[index + 1]?.at ?? endedAt
    return {
      stage,
      began_at: iso(at),
      seconds: until === undefined ? null : Math.max(0, until - at) / 1000,
    }
  })
}

const errorOf = ({ code, message, exitCode, signal }: NonNullable<Attempt['failure']>) => ({
  code,
  message,
  exit_code: exitCode ?? null,
  signal: signal ?? null,
})

const iso = (at: Timestamp | undefined): string | null =>
  at === undefined ? null : new Date(at).toISOString()
