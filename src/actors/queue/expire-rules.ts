/** How jobs expire, and how they are kept from it. */
import { causeOf } from '../../domain/client.ts'
import { hasExpired } from '../../domain/errors.ts'
import { isOpen, type Job, type Timestamp } from '../../domain/job.ts'
import type { QueueCommand, QueueNews, QueueState } from './queue-protocol.ts'
import { type QueueStep, stored, waitingJob } from './queue-state.ts'

/**
 * Whoever says that these are over their time may have looked a while ago, so each is looked at once
 * more, right before its files go. From here on none of them is pinned any more.
 */
export function expire(
  state: QueueState,
  { jobIds, replyTo }: Extract<QueueCommand, { type: 'expire' }>,
): QueueStep {
  const over = jobIds.filter(
    (id) => !state.running.has(id) && !waitingJob(state, id) && !state.expiring.has(id),
  )
  return [
    { ...state, expiring: new Set([...state.expiring, ...over]) },
    [{ do: 'expireJobs', jobIds: over, replyTo }],
  ]
}

/** As with `remove`, files go first: after a crash in between, the record can expire once more. */
export function keepExpired(
  state: QueueState,
  { jobIds, answer, replyTo }: Extract<QueueNews, { type: 'jobsExpired' }>,
  at: Timestamp,
): QueueStep {
  const expiring = new Set(state.expiring)
  for (const jobId of jobIds) expiring.delete(jobId)
  return [
    { ...state, expiring },
    [
      ...answer.gone.map((jobId) => stored({ op: 'expire', jobId, at })),
      { do: 'answerExpired', to: replyTo, answer },
    ],
  ]
}

/** What is not over, is wished to be kept, or is still to be told of stays. */
export const mayExpire = (job: Job, isAwaited: boolean): boolean =>
  !isOpen(job) && job.pinnedAt === undefined && !isAwaited

export function setPin(
  state: QueueState,
  message: Extract<QueueCommand, { type: 'setPin' }>,
  at: Timestamp,
): QueueStep {
  const { jobId, pinned, scope, replyTo } = message
  if (state.expiring.has(jobId)) {
    const answer = hasExpired({ jobId, expiredAt: at })
    return [state, [{ do: 'answerPin', to: replyTo, answer }]]
  }
  return [
    state,
    [
      stored({ op: 'pin', jobId, pinned, at }),
      { do: 'logChange', jobId, change: pinned ? 'pinned' : 'unpinned', ...causeOf(message) },
      { do: 'answerPinned', jobId, scope, replyTo },
    ],
  ]
}
