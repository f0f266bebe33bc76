/** Jobs of which a process may be left on a node that is lost. */
import type { AttemptKey, Failure, GpuId, JobId, Timestamp } from '../../../domain/job.ts'
import type { NodeName } from '../../../domain/node.ts'
import { attemptsOf, attemptsOn, withoutAttempts } from '../lost-attempts.ts'
import { nodeNameOf } from '../nodes.ts'
import type { Outcome } from '../queue-ports.ts'
import { isUnkillable, type QueueState } from '../queue-state.ts'
import { type QueueStep, stored } from './queue-steps.ts'

/** `canceled` says that no process of the job is left, which nobody knows of a node that is lost. */
export function outcomeOfCancel(
  state: QueueState,
  jobId: JobId,
): Extract<Outcome, { status: 'canceled' | 'error' }> {
  const [attempt] = attemptsOf(state.lost, jobId)
  if (!attempt) return { status: 'canceled' }
  const node = nodeNameOf(state, attempt.gpu)
  if (isUnkillable(state, attempt.gpu)) return { status: 'error', failure: unkillableOn(node) }
  const message =
    `The job was canceled, but the machine "${node}" on which it ran is lost: a process of it may be left there. ` +
    'It is stopped when the machine returns.'
  return { status: 'error', failure: { code: 'node_lost', message } }
}

const unkillableOn = (node: NodeName): Failure => ({
  code: 'unkillable',
  message:
    `The job was canceled, but a process of it on the machine "${node}" survived SIGKILL. ` +
    'Its GPU gets no more jobs until an operator resumes it; the machine may need a restart.',
})

export const withoutLost = (state: QueueState, jobId: JobId): QueueState => {
  const attempts = attemptsOf(state.lost, jobId)
  return attempts.length > 0 ? { ...state, lost: withoutAttempts(state.lost, attempts) } : state
}

/**
 * No process is left on these GPUs but that of the attempt that one of them holds: they have announced themselves, or
 * an operator says that they are sound or that their machine is off. It is stored, for a later leader.
 */
export function accountFor(
  state: QueueState,
  gpus: readonly GpuId[],
  at: Timestamp,
  holding?: AttemptKey,
): QueueStep {
  const found = gpus.flatMap((gpu) => attemptsOn(state.lost, gpu, holding))
  if (found.length === 0) return [state, []]
  const attempts = found.map(({ jobId, epoch }) => ({ jobId, epoch }))
  return [
    { ...state, lost: withoutAttempts(state.lost, found) },
    [stored({ op: 'account', attempts, at })],
  ]
}
