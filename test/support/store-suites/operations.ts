/** Operations on job `n`, one minute after the other. */
import type { Outcome } from '../../../src/actors/queue/queue-ports.ts'
import type { FileLoss, GpuId, Job, Removal, VideoRequest } from '../../../src/domain/job.ts'
import { aFailure, aRequest, aVideo, fromAnybody, gpu0, jobId, midnight } from '../jobs.ts'
import type { StoreOperation } from './stores.ts'

export const minute = (n: number): number => midnight + n * 60_000

export const video = aVideo()
export const success: Outcome = { status: 'success', video }
export const canceled: Outcome = { status: 'canceled' }
export const error: Outcome = { status: 'error', failure: aFailure('gpu_error') }

export const submit = (
  n: number,
  request: Partial<Omit<VideoRequest, 'image'>> = {},
  owner: string | null = null,
): StoreOperation => ({
  op: 'submit',
  jobId: jobId(n),
  seq: n,
  request: aRequest(request),
  ...fromAnybody,
  owner,
  at: minute(0),
})

export const claim = (
  n: number,
  epoch = 1,
  { gpu = gpu0, filename = `video-${n}.mp4` }: Readonly<{ gpu?: GpuId; filename?: string }> = {},
): StoreOperation => ({
  op: 'claim',
  jobId: jobId(n),
  epoch,
  attempt: epoch,
  gpu,
  filename,
  at: minute(1),
})

export const began = (n: number, epoch = 1): StoreOperation => ({
  op: 'began',
  jobId: jobId(n),
  epoch,
  at: minute(2),
})

export const generated = (n: number, epoch = 1): StoreOperation => ({
  op: 'generated',
  jobId: jobId(n),
  epoch,
  at: minute(3),
})

export const requestCancel = (n: number, epoch = 1): StoreOperation => ({
  op: 'requestCancel',
  jobId: jobId(n),
  epoch,
  at: minute(3),
})

/** On GPU 0, claimed and begun as above. */
export const reclaim = (n: number, epoch = 1): StoreOperation => ({
  op: 'reclaim',
  jobId: jobId(n),
  epoch,
  attempt: epoch,
  gpu: gpu0,
  filename: `video-${n}.mp4`,
  claimedAt: minute(1),
  startedAt: minute(2),
  at: minute(6),
})

/** Its node was lost. */
export const loseNode = (n: number, epoch = 1): StoreOperation => ({
  op: 'release',
  jobId: jobId(n),
  epoch,
  attempts: epoch - 1,
  failure: aFailure('node_lost'),
  at: minute(5),
})

/** Nothing is left on the node that was lost with it. */
export const account = (n: number, epoch = 1): StoreOperation => ({
  op: 'account',
  attempts: [{ jobId: jobId(n), epoch }],
  at: minute(6),
})

export const release = (n: number, epoch = 1, failed = true): StoreOperation => ({
  op: 'release',
  jobId: jobId(n),
  epoch,
  attempts: failed ? epoch : epoch - 1,
  ...(failed && { failure: aFailure() }),
  at: minute(4),
})

export const finish = (
  n: number,
  outcome: Outcome = success,
  epoch = 1,
  at = minute(4),
): StoreOperation => ({ op: 'finish', jobId: jobId(n), epoch, outcome, at })

export const pin = (n: number, pinned = true): StoreOperation => ({
  op: 'pin',
  jobId: jobId(n),
  pinned,
  at: minute(5),
})

export const forgetVideo = (n: number): StoreOperation => ({
  op: 'forgetVideo',
  jobId: jobId(n),
  at: minute(9),
})

export const announce = (n: number, removal: Removal = 'video'): StoreOperation => ({
  op: 'announceRemoval',
  jobId: jobId(n),
  removal,
  at: minute(8),
})

export const keepVideo = (n: number): StoreOperation => ({
  op: 'keepVideo',
  jobId: jobId(n),
  at: minute(9),
})

export const loseVideo = (
  n: number,
  loss: FileLoss = 'missing',
  at = minute(9),
): StoreOperation => ({
  op: 'loseVideo',
  jobId: jobId(n),
  loss,
  at,
})

export const findVideo = (n: number): StoreOperation => ({
  op: 'findVideo',
  jobId: jobId(n),
  at: minute(9),
})

export const remove = (n: number): StoreOperation => ({
  op: 'remove',
  jobId: jobId(n),
  at: minute(10),
})

export const expire = (n: number, at = minute(10)): StoreOperation => ({
  op: 'expire',
  jobId: jobId(n),
  at,
})

/** Job `n` from its submission to its video. */
export const made = (
  n: number,
  details: Readonly<{ gpu?: GpuId; filename?: string }> = {},
): StoreOperation[] => [submit(n), claim(n, 1, details), began(n), generated(n), finish(n)]

export const numbersOf = (jobs: readonly Pick<Job, 'seq'>[]): number[] => jobs.map(({ seq }) => seq)
