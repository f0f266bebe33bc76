import type { ActorRef, Asks, Ending } from '../actor.ts'

/** How one child is kept alive. The words and their meaning are OTP's. */
export type ChildSpec = Readonly<{
  id: string
  /** More than `intensity` restarts within `periodMs` and the child is given up. */
  intensity: number
  periodMs: number
  /** Waits before restarts: doubled each time from `minMs` up to `maxMs`, forgotten after a quiet period. */
  backoff: Readonly<{ minMs: number; maxMs: number }>
  /** How long an orderly stop may take before the child is cut off. */
  shutdownMs: number
  /** Without it the service is not worth running: giving it up ends the process. */
  significant: boolean
}>

export const defaultChildSpec = {
  intensity: 5,
  periodMs: 60_000,
  backoff: { minMs: 1_000, maxMs: 60_000 },
  shutdownMs: 5_000,
  significant: false,
} as const satisfies Omit<ChildSpec, 'id'>

/** A child's own life is told by its `phase`; `incarnation` counts its lives. */
export type ChildState = Readonly<
  { spec: ChildSpec; incarnation: number; restartedAt: readonly number[] } & (
    | { phase: 'running' | 'stopping' }
    | { phase: 'backoff' | 'given_up'; error: string }
    | { phase: 'terminated' }
  )
>

export type SupervisorCommand = Readonly<
  | { type: 'startAll' }
  | ({ type: 'restartChild'; id: string } & Asks<RestartAnswer>)
  /** Stops all children in reverse order of their start; answered when the last has ended. */
  | ({ type: 'shutdown' } & Asks<'stopped'>)
>

export type RestartAnswer = 'restarting' | 'no_such_child' | 'shutting_down'

export type SupervisorNews = Readonly<
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

export type SupervisorEffect = Readonly<
  | { do: 'start' | 'stop' | 'kill'; id: string; incarnation: number }
  | { do: 'restartLater'; id: string; incarnation: number; afterMs: number }
  | { do: 'expectEnd'; id: string; incarnation: number; withinMs: number }
  | { do: 'report'; event: SupervisorEvent }
  | { do: 'answerRestart'; to: ActorRef<RestartAnswer>; answer: RestartAnswer }
  | { do: 'answerShutdown'; to: ActorRef<'stopped'> }
>

/** What happens to children, for the log and for those who must know. */
export type SupervisorEvent = Readonly<
  | { type: 'childStopped'; id: string; incarnation: number }
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
