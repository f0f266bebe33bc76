import type { Caused } from '../../domain/client.ts'
import type { Doubt, Hold } from '../../domain/hold.ts'
import type { JobId, Timestamp } from '../../domain/job.ts'
import type { ActorRef, AnswerEffect, Asks } from '../actor.ts'
import type { ExpireAnswer } from '../archive/archive-protocol.ts'
import type { Clock } from './clock-rules.ts'
import type { FinishedFilter, FinishedJob, FinishedStatus } from './janitor-ports.ts'
import type { Selection, Tally } from './retention-rules.ts'

/** An admin's: what of it nobody needs goes, or is only counted. */
export type PurgeCommand = Readonly<
  { type: 'purge'; wish: PurgeWish; dryRun: boolean; by: string | null } & Caused &
    Asks<PurgeAnswer>
>

export type PurgeWish = Readonly<{
  olderThanMs?: number
  status?: readonly FinishedStatus[]
  maxBytes?: number
}>

/** `complete`: there is no more of it; else what is left goes when it is asked for again. */
export type PurgeAnswer = Tally & Readonly<{ complete: boolean }>

export type RetentionNews = Readonly<
  | { type: 'sweepDue' }
  | { type: 'latestEndRead'; latestEnd: Timestamp | undefined }
  | { type: 'sweepFailed'; error: unknown }
  /** The next four are of the run that is under way. */
  | { type: 'weighed'; bytes: number }
  | { type: 'pageRead'; jobs: readonly FinishedJob[] }
  | ({ type: 'expired' } & ExpireAnswer)
  | { type: 'stepFailed'; error: unknown }
>

export type RetentionMessage = PurgeCommand | RetentionNews

/** From the oldest job to the youngest, a few at a time. */
export type Run = Readonly<{
  selection: Selection
  tally: Tally
  /** Where the next page begins. */
  after?: FinishedJob
  /** How much more room is to be made, once that is known. */
  bytesToFree?: number
  /** On their way out. */
  leaving: readonly FinishedJob[]
  /** Something could not be removed. */
  failed: boolean
  /** Absent: of our own accord. */
  purge?: Readonly<{
    replyTo: ActorRef<PurgeAnswer>
    dryRun: boolean
    by: string | null
    /** When it has to be answered, however much is left. */
    untilUptimeMs: number
  }> &
    Caused
}>

export type RetentionState = Readonly<{
  clock: Clock
  /** The first is under way. */
  runs: readonly Run[]
  /** When the clock is noted again for the next start. */
  noteAtUptimeMs: number
  /** When left-overs are looked for again. */
  tidyAtUptimeMs: number
  /** Something could not be removed, and that has been said. */
  failed: boolean
}>

export type RetentionEffect =
  | AnswerEffect
  | Readonly<
      | { do: 'sweepLater' }
      | { do: 'readLatestEnd' }
      | { do: 'weigh' }
      | { do: 'readPage'; filter: FinishedFilter }
      | { do: 'expire'; jobIds: readonly JobId[] }
      | { do: 'forgetTombstones'; before: Timestamp }
      | { do: 'removeLeftOvers'; before: Timestamp }
      | { do: 'logGone'; run: Run }
      | { do: 'noteClock'; hold: Hold | undefined }
      | { do: 'observeHold'; hold: Hold | undefined }
      | { do: 'logClock'; doubt: Doubt | undefined; latestEnd: Timestamp | undefined }
      | { do: 'logSweepFailed'; error: unknown }
    >
