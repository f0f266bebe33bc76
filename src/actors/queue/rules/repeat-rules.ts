/**
 * Which requests are repetitions of one that was taken: they get its job, and make no second one.
 *
 * The store knows them all, for as long as a key is good. Those of the last minute or two are here
 * as well, for a submission that was looked up there may have been overtaken by another since.
 */

import { RefusalError } from '../../../domain/errors.ts'
import type { JobId, Timestamp } from '../../../domain/job.ts'
import { dayMs } from '../../../domain/time.ts'
import { answer } from '../../actor.ts'
import { get, set } from '../../ordered-map.ts'
import { view } from '../queue-answers.ts'
import type { QueueEffect } from '../queue-effects.ts'
import type { Earlier, Identity } from '../queue-ports.ts'
import type { QueueNews, Repetition, Submission } from '../queue-protocol.ts'
import type { QueueState, RecentSubmissions } from '../queue-state.ts'
import type { QueueStep } from './queue-steps.ts'

/** How long a key stands for the job that it was first sent with. */
export const keyLifeMs = dayMs

/** How long a client that says that it tries again is believed to mean what it sent before. */
export const retryWindowMs = 60 * 1000

export const mayBeRepeated = ({ key, isRetry }: Repetition): boolean => key !== undefined || isRetry

/** How far back an earlier submission of the kind is looked for. */
export const lookBackMs = ({ key }: Repetition): number =>
  key === undefined ? retryWindowMs : keyLifeMs

export function findEarlier(
  recent: RecentSubmissions,
  { identity, repetition, earlier }: Submission,
  at: Timestamp,
): Earlier | undefined {
  if (!mayBeRepeated(repetition) || earlier) return earlier
  const { key } = repetition
  const name = key === undefined ? byFingerprint(identity) : byKey(identity, key)
  const found = get(recent.young, name) ?? get(recent.old, name)
  return found && at - found.at <= lookBackMs(repetition) ? found : undefined
}

export function remember(
  recent: RecentSubmissions,
  { jobId, identity }: Pick<Submission, 'jobId' | 'identity'>,
  at: Timestamp,
): RecentSubmissions {
  const { young, old, since } =
    at - recent.since > retryWindowMs ? { young: undefined, old: recent.young, since: at } : recent
  const { key, fingerprint } = identity
  const kept = { jobId, fingerprint, at }
  const withFingerprint = set(young, byFingerprint(identity), kept)
  return {
    young: key === undefined ? withFingerprint : set(withFingerprint, byKey(identity, key), kept),
    old,
    since,
  }
}

/** The same key means the same request; whoever means another one has to say so. */
export function answerRepeated(
  { jobId, fingerprint }: Earlier,
  { identity, replyTo }: Submission,
): QueueEffect {
  if (fingerprint === identity.fingerprint) return { do: 'findRepeated', jobId, replyTo }
  const refusal = new RefusalError(
    'idempotency_key_reuse',
    'Idempotency-Key: this key was sent with another request before; a new request needs a new key.',
    { field: 'Idempotency-Key' },
  )
  return answer(replyTo, refusal)
}

export const tellRepeated = (
  state: QueueState,
  { jobId, job, webhook, replyTo }: Extract<QueueNews, { type: 'repetitionFound' }>,
): QueueStep => {
  if (!job) return [state, [answer(replyTo, noLonger(jobId))]]
  const repeated = { ...view(job, state), repeated: true, ...(webhook && { webhook }) }
  return [state, [answer(replyTo, repeated)]]
}

/** The job that a request was taken for has been deleted since. */
const noLonger = (jobId: JobId): RefusalError =>
  new RefusalError(
    'idempotency_key_reuse',
    `This request was taken before, for the job ${jobId}, which has been deleted; send it with a new Idempotency-Key.`,
    { field: 'Idempotency-Key' },
  )

const byKey = ({ caller }: Identity, key: string): string => JSON.stringify(['key', caller, key])

const byFingerprint = ({ caller, fingerprint }: Identity): string =>
  JSON.stringify(['fingerprint', caller, fingerprint])
