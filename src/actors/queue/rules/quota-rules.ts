/** How many jobs a client may submit. */
import type { Client } from '../../../domain/client.ts'
import { RefusalError } from '../../../domain/errors.ts'
import type { Timestamp } from '../../../domain/job.ts'
import type { Quota } from '../../../domain/quota.ts'
import { hourMs } from '../../../domain/time.ts'
import type { QueueState } from '../queue-state.ts'

/** What was submitted longer ago counts no more. */
export const quotaPeriodMs = hourMs

/**
 * A client is counted by its name, and who has none by where it comes from. An admin with a name is
 * not counted: limits are what it sets for others.
 */
const countedAs = ({ name, isAdmin, address }: Client): string | undefined =>
  name === null ? address : isAdmin ? undefined : name

/** Absent: nothing limits this client. */
export function quotaOf(state: QueueState, client: Client, at: Timestamp): Quota | undefined {
  const limit = state.settings.jobsPerHour
  const who = countedAs(client)
  if (limit === 0 || who === undefined) return undefined
  const own = recent(state, at).filter(({ by }) => by === who)
  const remaining = Math.max(0, limit - own.length)
  // With more than the limit, which was higher once, more than one has to be forgotten.
  const next = own[Math.max(0, own.length - limit)]
  if (!next) return { limit, remaining }
  return { limit, remaining, moreInS: Math.ceil((next.at + quotaPeriodMs - at) / 1000) }
}

export function refuseQuota(
  state: QueueState,
  client: Client,
  at: Timestamp,
): RefusalError | undefined {
  const quota = quotaOf(state, client, at)
  if (!quota || quota.remaining > 0) return undefined
  return new RefusalError(
    'rate_limited',
    `${quota.limit} jobs an hour are taken from one client (JOBS_PER_HOUR); the next one in ${quota.moreInS} s.`,
    { quota },
  )
}

export function countSubmission(state: QueueState, client: Client, at: Timestamp): QueueState {
  const by = countedAs(client)
  if (state.settings.jobsPerHour === 0 || by === undefined) return state
  return { ...state, submissions: [...recent(state, at), { by, at }] }
}

const recent = ({ submissions }: QueueState, at: Timestamp) =>
  submissions.filter((submission) => submission.at > at - quotaPeriodMs)
