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

/** A GPU that announces itself has no process of any other attempt than the one that it holds. */
export function accountFor(lost: LostAttempts, gpu: GpuId, holding?: AttemptKey): LostAttempts {
  const isHeld = (one: LostAttempt) =>
    one.gpu !== gpu || (one.jobId === holding?.jobId && one.epoch === holding.epoch)
  let left = lost
  for (const attempts of values(lost)) {
    const held = attempts.filter(isHeld)
    const [first] = attempts
    if (!first || held.length === attempts.length) continue
    left = held.length > 0 ? set(left, first.jobId, held) : remove(left, first.jobId)
  }
  return left
}
