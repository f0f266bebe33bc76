import type { Caused } from '../../domain/client.ts'
import type { ActorRef, AnswerEffect, Asks, Ending } from '../actor.ts'

/** How one child is kept alive: always, as OTP's `permanent` children are. The words are OTP's. */
export type ChildSpec = Readonly<{
  id: string
  /** More than `intensity` restarts within `periodMs` and the child is given up. */
  intensity: number
  periodMs: number
  backoff: Backoff
  /** Time that an orderly stop may take before the child is killed, in milliseconds. */
  shutdownMs: number
  /** Without it the service is not worth running: giving it up ends the process. */
  significant: boolean
}>

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
  intensity: 5,
  periodMs: 60_000,
  backoff: { minMs: 1_000, maxMs: 60_000, factor: 2, jitter: 0.2, resetAfterMs: 60_000 },
  shutdownMs: 5_000,
  significant: false,
} as const satisfies Omit<ChildSpec, 'id'>

/** A child's own life is told by its `phase`. */
export type ChildState = Readonly<
  ChildRecord &
    (
      | { phase: 'starting' }
      | { phase: 'running'; startedAt: number }
      /** Has been asked to stop. Starts again when it has ended, except in a shutdown. */
      | { phase: 'stopping' }
      | { phase: 'backoff' | 'given_up'; error: string }
      /** Ended in a shutdown. */
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

export type SupervisorCommand = Readonly<
  | ({ type: 'restartChild'; id: string } & Caused & Asks<RestartAnswer>)
  /** Stops all children in reverse order of their start; answered when the last has ended. */
  | ({ type: 'shutdown' } & Asks<'stopped'>)
>

export type RestartAnswer = 'restarting' | 'no_such_child' | 'shutting_down'

export type SupervisorNews = Readonly<
  | { type: 'childStarted'; id: string; incarnation: number }
  | { type: 'startFailed'; id: string; incarnation: number; error: unknown }
  | { type: 'childEnded'; id: string; incarnation: number; ending: Ending }
  | { type: 'restartDue'; id: string; incarnation: number }
  | { type: 'shutdownOverdue'; id: string; incarnation: number }
>

export type SupervisorQuestion = Readonly<{ type: 'whichChildren' } & Asks<readonly ChildView[]>>

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

export type SupervisorState = Readonly<{
  /** In start order. */
  children: readonly ChildState[]
  shutdown?: Readonly<{ waiting: readonly ActorRef<'stopped'>[] }>
}>

export type SupervisorEffect =
  | AnswerEffect
  | Readonly<
      | { do: 'start' | 'stop' | 'kill'; id: string; incarnation: number }
      | { do: 'restartLater'; id: string; incarnation: number; afterMs: number }
      | { do: 'expectEnd'; id: string; incarnation: number; withinMs: number }
      | { do: 'report'; event: SupervisorEvent }
      /** Replies with these children. Only the shell can read the lengths of their mailboxes. */
      | {
          do: 'describe'
          to: ActorRef<readonly ChildView[]>
          children: readonly Omit<ChildView, 'mailbox'>[]
        }
    >

/** What happens to children, for the log and for those who must know. */
export type SupervisorEvent = Readonly<
  /** Whatever it was at, an operator wants it started anew. */
  | ({ type: 'childRestartAsked'; id: string; incarnation: number } & Caused)
  /** It ended as requested, by a restart or a shutdown: the end does not count as a failure. */
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
