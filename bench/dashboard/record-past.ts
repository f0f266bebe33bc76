/** A past that a service can have had, recorded through the ports of its stores. */
import { randomUUID } from 'node:crypto'
import * as v from 'valibot'
import type { EstimateLog } from '../../src/actors/eta/eta-ports.ts'
import type { ToldEstimate } from '../../src/domain/estimate.ts'
import {
  type Failure,
  type GenerationStartKind,
  GpuId,
  JobId,
  type Timestamp,
  type VideoRequest,
} from '../../src/domain/job.ts'
import type { JobStore } from '../../src/infra/store/job-store.ts'
import type { StoreOperation } from '../../src/infra/store/store-operations.ts'

export type PastJob = Readonly<{
  prompt: string
  submittedAt: Timestamp
  owner?: string | null
  request?: Partial<VideoRequest>
  /** Absent: it still waits. */
  run?: Readonly<{
    gpu: number
    claimedAt: Timestamp
    /** Until its video was there, or it failed. */
    seconds: number
    filename: string
    /** Length of the file. Without a file the job says that it is lost. */
    bytes?: number
    failure?: Failure
    start?: GenerationStartKind
    /** What was told at the submission, in seconds. */
    told?: Readonly<{ p10: number; p50: number; p90: number }>
  }>
}>

/** Each commit of so many operations: few enough for others to get a word in. */
const perCommit = 2_000

export type RecordedPast = Readonly<{ ids: readonly JobId[] }>

/** Records jobs in stores that have none from `firstSeq` on. `drained` are GPUs that take no jobs. */
export async function recordPast(
  stores: Readonly<{ jobs: Pick<JobStore, 'commit'>; eta: EstimateLog }>,
  jobs: readonly PastJob[],
  { drained = [], firstSeq = 1 }: Readonly<{ drained?: readonly number[]; firstSeq?: number }> = {},
): Promise<RecordedPast> {
  const ids = jobs.map(() => v.parse(JobId, randomUUID()))
  const operations = [
    ...jobs.flatMap((job, index) => operationsOf(job, firstSeq + index, ids[index] as JobId)),
    ...drained.map((gpu): StoreOperation => {
      const health = { drained: true, failures: [] }
      return { op: 'setGpuHealth', gpu: v.parse(GpuId, gpu), health }
    }),
  ]
  for (let done = 0; done < operations.length; done += perCommit) {
    await stores.jobs.commit(operations.slice(done, done + perCommit))
  }
  const estimates = jobs.flatMap(({ run, submittedAt }, index): ToldEstimate[] =>
    run?.told
      ? [
          {
            jobId: ids[index] as JobId,
            checkpoint: 'submit',
            at: submittedAt,
            source: 'history',
            spread: 0.1,
            ...run.told,
          },
        ]
      : [],
  )
  await stores.eta.record(estimates)
  return { ids }
}

function operationsOf(job: PastJob, seq: number, jobId: JobId): StoreOperation[] {
  const { prompt, submittedAt, run, owner = null } = job
  const request: VideoRequest = {
    ...{ prompt, size: '1280x720', frames: 121, steps: 50, seed: 1_000 + seq },
    ...job.request,
  }
  const submitted: StoreOperation = {
    ...{ op: 'submit', jobId, at: submittedAt, seq, request, owner, address: null },
  }
  if (!run) return [submitted]
  const { claimedAt, seconds, filename, failure, start, bytes = 3_100_000 } = run
  const gpu = v.parse(GpuId, run.gpu)
  const endedAt = claimedAt + seconds * 1000
  const part = (share: number) => Math.round(claimedAt + share * seconds * 1000)
  const began = {
    ...{ loading: claimedAt, encoding: part(0.12), denoising: part(0.14) },
    ...{ decoding: part(0.86), saving: part(0.95) },
  }
  const trace = { source: 'events', began, secondsPerStep: (seconds * 0.72) / 50 } as const
  const generatedAt = part(0.97)
  const epoch = 1
  return [
    submitted,
    { op: 'claim', jobId, at: claimedAt, epoch, attempt: 1, gpu, filename },
    { op: 'began', jobId, at: claimedAt + 100, epoch, ...(start && { start }) },
    { op: 'generated', jobId, at: generatedAt, epoch, trace },
    {
      ...{ op: 'finish', jobId, at: endedAt, epoch, trace },
      outcome: failure
        ? { status: 'error', failure }
        : {
            status: 'success',
            video: {
              width: 1280,
              height: 720,
              frames: 121,
              durationSeconds: 5.04,
              bytes,
            },
          },
    },
  ]
}
