import type { Scope, Scoped } from '../../domain/client.ts'
import type { RefusalError } from '../../domain/errors.ts'
import type { JobId } from '../../domain/job.ts'
import type { ActorRef, AnswerEffect, Asks } from '../actor.ts'
import type { Estimate } from '../eta/eta-protocol.ts'
import type { OrderedMap } from '../ordered-map.ts'
import type { JobChange, JobView } from '../queue/queue-protocol.ts'

/** Orders, in the imperative. */
export type EventCommand = Readonly<
  /** Answered with how things are, or with what was missed; from then on the watcher is told. */
  | ({ type: 'watch'; after?: string } & Watch & Asks<Opening | RefusalError>)
  | { type: 'unwatch'; watcher: ActorRef<LiveMessage> }
  /** The service is stopping: everybody is told that it is over. */
  | { type: 'close' }
>

/** News, in the past tense. */
export type EventNews = Readonly<
  /** Durable, so it may be known. */
  | { type: 'jobsChanged'; changes: ReadonlyMap<JobId, JobChange> }
  /** What its former life had not told yet was lost with it. */
  | { type: 'queueRestored' }
  | { type: 'seen'; look: number; sights: readonly Sight[]; open: readonly (Scoped & OpenJobs)[] }
  | { type: 'lookFailed'; look: number; error: unknown }
  | { type: 'progressDue' }
  | { type: 'refreshDue' }
>

/** Questions: answered from the present state, which they never change. */
export type EventQuestion = Readonly<
  /** The number of watchers of this very job; watchers of all jobs do not count. */
  { type: 'countWatchers'; jobId: JobId } & Asks<number>
>

export type EventMessage = EventCommand | EventNews | EventQuestion

export type Watch = Readonly<{
  watcher: ActorRef<LiveMessage>
  /** Absent: every job within the scope. */
  jobId?: JobId
}> &
  Scoped

/** A job as it was at one moment. */
export type Sight = Readonly<{ view: JobView; estimate?: Estimate }>

export type LiveEvent = LoggedEvent | Readonly<{ type: 'progress' } & Sight>

/** What is kept for a while, so that it can be told again to those who missed it. */
export type LoggedEvent = Readonly<{ type: 'status' | 'stage'; number: number; id: string } & Sight>

/** What a watcher is told. `over`: there will be no more, and something may have been missed. */
export type LiveMessage = LiveEvent | Readonly<{ type: 'over' }>

export type Opening = Readonly<
  | { how: 'resumed'; missed: readonly LoggedEvent[] }
  /** As of the event `id`: the watched job, or the oldest jobs that are open. */
  | ({ how: 'snapshot'; id: string } & OpenJobs)
>

export type OpenJobs = Readonly<{ sights: readonly Sight[]; hasMore: boolean }>

export type EventSettings = Readonly<{
  /** How many characters of jobs are kept, with the latest events. */
  keptCharacters: number
  /** How many may watch at once. */
  maxWatchers: number
}>

/** Why a job is looked at; a `refresh` is for those who watch this very job. */
export type Reason = JobChange | 'refresh'

export type Joining = Watch & Asks<Opening | RefusalError>

export type Look = Readonly<{
  number: number
  reasons: ReadonlyMap<JobId, Reason>
  joining: readonly Joining[]
}>

export type EventState = Readonly<{
  settings: EventSettings
  /** No two lives of this actor have the same: it begins the id of every event. */
  life: string
  /** Of the latest event. */
  number: number
  /** Who has seen this one, or a later one, has missed nothing that is not kept. */
  resumableFrom: number
  kept: readonly LoggedEvent[]
  watches: readonly Watch[]
  /** Waiting for the next look, which is their first event. */
  joining: readonly Joining[]
  due: ReadonlyMap<JobId, Reason>
  /** The look that is under way; the next begins when it is done, so that nothing goes back in time. */
  looking?: Look
  looks: number
  /** Told of at the next beat, so that no job is told of too often. */
  stepped: OrderedMap<JobId, 'step' | 'refresh'>
  /** Of each open job whose progress was told: after which event that was. It is not in the log. */
  progressed: OrderedMap<JobId, number>
  beating: boolean
  refreshing: boolean
}>

export type EventEffect =
  | AnswerEffect
  | Readonly<
      /** How do these jobs stand, and which are open at all within each of these scopes? */
      | { do: 'look'; number: number; jobIds: readonly JobId[]; open: readonly Scope[] }
      | { do: 'tellWatchers'; to: readonly Watch[]; message: LiveMessage }
      | { do: 'logLookFailed'; error: unknown }
      | { do: 'expectBeat' }
      | { do: 'expectRefresh' }
    >
