/** Attempts on nodes that were lost: nobody knows whether a process of them is left. */
import type { AttemptKey, GpuId, JobId } from '../../domain/job.ts'
import { get, type OrderedMap, remove, set } from '../ordered-map.ts'
import type { LostAttempt } from './queue-ports.ts'

/** The same attempts twice: each announcement of a GPU asks for its own, among those of all GPUs. */
export type LostAttempts = Readonly<{
  byJob: OrderedMap<JobId, readonly LostAttempt[]>
  byGpu: OrderedMap<GpuId, readonly LostAttempt[]>
}>

export const lostAttempts = (attempts: readonly LostAttempt[]): LostAttempts =>
  attempts.reduce(noteLost, { byJob: undefined, byGpu: undefined })

export const noteLost = ({ byJob, byGpu }: LostAttempts, attempt: LostAttempt): LostAttempts => ({
  byJob: set(byJob, attempt.jobId, [...(get(byJob, attempt.jobId) ?? []), attempt]),
  byGpu: set(byGpu, attempt.gpu, [...(get(byGpu, attempt.gpu) ?? []), attempt]),
})

export const attemptsOf = (lost: LostAttempts, jobId: JobId): readonly LostAttempt[] =>
  get(lost.byJob, jobId) ?? []

/** Attempts on this GPU, but for the one that it holds. */
export const attemptsOn = (
  lost: LostAttempts,
  gpu: GpuId,
  holding?: AttemptKey,
): readonly LostAttempt[] =>
  (get(lost.byGpu, gpu) ?? []).filter((one) => !holding || !isOf(one, holding))

export const findLost = (
  lost: LostAttempts,
  attempt: AttemptKey,
  gpu: GpuId,
): LostAttempt | undefined =>
  attemptsOf(lost, attempt.jobId).find((one) => isOf(one, attempt) && one.gpu === gpu)

export const withoutAttempts = (
  lost: LostAttempts,
  attempts: readonly LostAttempt[],
): LostAttempts =>
  attempts.reduce(
    ({ byJob, byGpu }, attempt) => ({
      byJob: without(byJob, attempt.jobId, attempt),
      byGpu: without(byGpu, attempt.gpu, attempt),
    }),
    lost,
  )

const isOf = (one: LostAttempt, { jobId, epoch }: AttemptKey): boolean =>
  one.jobId === jobId && one.epoch === epoch

function without<K extends JobId | GpuId>(
  map: OrderedMap<K, readonly LostAttempt[]>,
  key: K,
  attempt: LostAttempt,
): OrderedMap<K, readonly LostAttempt[]> {
  const others = get(map, key)?.filter((one) => one !== attempt) ?? []
  return others.length > 0 ? set(map, key, others) : remove(map, key)
}
