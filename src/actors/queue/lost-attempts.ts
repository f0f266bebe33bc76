/** Attempts on nodes that were lost: nobody knows whether a process of them is left. */
import type { AttemptKey, GpuId, JobId } from '../../domain/job.ts'
import { get, type OrderedMap, remove, set, values } from '../ordered-map.ts'
import type { LostAttempt } from './queue-ports.ts'

export type LostAttempts = OrderedMap<JobId, readonly LostAttempt[]>

export const lostAttempts = (attempts: readonly LostAttempt[]): LostAttempts =>
  attempts.reduce<LostAttempts>(noteLost, undefined)

export const noteLost = (lost: LostAttempts, attempt: LostAttempt): LostAttempts =>
  set(lost, attempt.jobId, [...(get(lost, attempt.jobId) ?? []), attempt])

export const findLost = (
  lost: LostAttempts,
  { jobId, epoch }: AttemptKey,
  gpu: GpuId,
): LostAttempt | undefined =>
  get(lost, jobId)?.find((one) => one.epoch === epoch && one.gpu === gpu)

/** Attempts on this GPU, but for the one that it holds. */
export function attemptsOn(
  lost: LostAttempts,
  gpu: GpuId,
  holding?: AttemptKey,
): readonly LostAttempt[] {
  const isHeld = (one: LostAttempt) => one.jobId === holding?.jobId && one.epoch === holding.epoch
  return [...values(lost)].flat().filter((one) => one.gpu === gpu && !isHeld(one))
}

export function withoutAttempts(
  lost: LostAttempts,
  attempts: readonly LostAttempt[],
): LostAttempts {
  let left = lost
  for (const { jobId } of attempts) {
    const others = get(left, jobId)?.filter((one) => !attempts.includes(one)) ?? []
    left = others.length > 0 ? set(left, jobId, others) : remove(left, jobId)
  }
  return left
}
