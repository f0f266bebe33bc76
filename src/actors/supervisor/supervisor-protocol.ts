import type { Caused } from '../../domain/client.ts'
import type { ActorRef, Asks, Ending } from '../actor.ts'

/** How one child is kept alive. The words and their meaning are OTP's. */
export type ChildSpec = Readonly<{
  id: string
  restart: RestartType
  /** More than `intensity` restarts within `periodMs` and the child is given up. */
  intensity: number
  periodMs: number
  backoff: Backoff
  /** How long an orderly stop may take (`Infinity`: for ever) before the child is cut off. */
  shutdown: number | 'brutal_kill'
  /** Without it the service is not worth running: giving it up ends the process. */
  significant: boolean
}>

/** When a child that ended by itself is restarted: always, unless it was stopped in order, never. */
export type RestartType = 'permanent' | 'transient' | 'temporary'

/** Waits before restarts, in Akka's manner: `factor` times longer each time, from `minMs` up to `maxMs`. */
export type Backoff = Readonly<{
  minMs: number
  maxMs: number
  factor: number
  /** A part of each wait, up to which it is drawn longer, so that not all come back at once. */
  jitter: number
  /** A child that has run for so long begins again with `minMs`. */
  resetAfterMs: number
}>

export const defaultChildSpec = {
  restart: 'permanent',
  intensity: 5,
  periodMs: 60_000,
  backoff: { minMs: 1_000, maxMs: 60_000, factor: 2, jitter: 0.2, resetAfterMs: 60_000 },
  shutdown: 5_000,
  significant: false,
} as const satisfies Omit<ChildSpec, 'id'>

/** Who is stopped with a child that failed, and started again with it: nobody, all later ones, all. */
export type Strategy = 'one_for_one' | 'rest_for_one' | 'one_for_all'

/** A child's own life is told by its `phase`. */
export type ChildState = Readonly<
  ChildRecord &
    (
      | { phase: 'starting' }
      | { phase: 'running'; startedAt: number }
      | StoppingChild
      | { phase: 'backoff' | 'given_up'; error: string }
      /** To be started, as soon as no other child holds it back. */
      | { phase: 'restarting' }
      | { phase: 'terminated' }
    )
>

export type ChildRecord = Readonly<{
  spec: ChildSpec
  /** Counts its lives. */
  incarnation: number
  restartedAt: readonly number[]
  /** How many waits in a row it has had, since it last ran for long. */
  waits: number
}>

type StoppingChild = Readonly<{
  phase: 'stopping'
  /** Not yet while others that were started later are still stopping. */
  told: boolean
  next: 'restarting' | 'terminated'
  /** Those who want to know when it has ended. */
  waiting: readonly ActorRef<TerminateAnswer>[]
}>

export type SupervisorCommand = Readonly<
  | { type: 'startAll' }
  | ({ type: 'restartChild'; id: string } & Caused & Asks<RestartAnswer>)
  /** Keeps the spec, so that the child can be restarted; answered when it has ended. */
  | ({ type: 'terminateChild'; id: string } & Asks<TerminateAnswer>)
  /** Stops all children in reverse order of their start; answered when the last has ended. */
  | ({ type: 'shutdown' } & Asks<'stopped'>)
>

/** `held`: it will be started together with another child, which is down or on its way. */
export type RestartAnswer = 'restarting' | 'held' | 'no_such_child' | 'shutting_down'

export type TerminateAnswer = 'terminated' | 'no_such_child'

export type SupervisorNews = Readonly<
  | { type: 'childStarted'; id: string; incarnation: number }
  | { type: 'startFailed'; id: string; incarnation: number; error: unknown }
  | { type: 'childEnded'; id: string; incarnation: number; ending: Ending }
  | { type: 'restartDue'; id: string; incarnation: number }
  | { type: 'shutdownOverdue'; id: string; incarnation: number }
>

export type SupervisorQuestion = Readonly<
  | ({ type: 'whichChildren' } & Asks<readonly ChildView[]>)
  | ({ type: 'countChildren' } & Asks<ChildCounts>)
>

export type SupervisorMessage = SupervisorCommand | SupervisorNews | SupervisorQuestion

/** What `whichChildren` shows of a child. */
export type ChildView = Readonly<{
  id: string
  phase: ChildState['phase']
  incarnation: number
  /** Restarts that still count towards `intensity`. */
  restartsInPeriod: number
  mailbox: number
  error?: string
}>

/** What `countChildren` counts. `active` are those that live, even if they are about to end. */
export type ChildCounts = Readonly<{
  specs: number
  active: number
  supervisors: 0
  workers: number
}>

export type SupervisorState = Readonly<{
  strategy: Strategy
  /** In start order. */
  children: readonly ChildState[]
  shutdown?: Readonly<{ waiting: readonly ActorRef<'stopped'>[] }>
}>

export type SupervisorEffect = Readonly<
  | { do: 'start' | 'stop' | 'kill'; id: string; incarnation: number }
  | { do: 'restartLater'; id: string; incarnation: number; afterMs: number }
  | { do: 'expectEnd'; id: string; incarnation: number; withinMs: number }
  | { do: 'report'; event: SupervisorEvent }
  | { do: 'answerRestart'; to: ActorRef<RestartAnswer>; answer: RestartAnswer }
  | { do: 'answerTerminate'; to: ActorRef<TerminateAnswer>; answer: TerminateAnswer }
  | { do: 'answerShutdown'; to: ActorRef<'stopped'> }
>

/** What happens to children, for the log and for those who must know. */
export type SupervisorEvent = Readonly<
  /** Whatever it was at, an operator wants it started anew. */
  | ({ type: 'childRestartAsked'; id: string; incarnation: number } & Caused)
  /** It ended, and this end is not held against it: it was asked for, or its restart type accepts it. */
  | {
      type: 'childStopped'
      id: string
      incarnation: number
      /** It was cut off. */
      killed?: true
      /** What it threw all the same, perhaps while it released what it held. */
      error?: unknown
      lastMessage?: string
      dropped: number
    }
  | {
      type: 'childFailed'
      id: string
      incarnation: number
      error: unknown
      lastMessage?: string
      dropped: number
      restartInMs: number
    }
  | { type: 'childGivenUp'; id: string; incarnation: number; error: unknown; significant: boolean }
>
