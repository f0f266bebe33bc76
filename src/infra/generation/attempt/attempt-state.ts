/** Life of an attempt as its observer sees it, from its start or adoption to its end. */
import type { GenerationResult, StopReason } from '../../../actors/gpu/gpu-ports.ts'
import type { Reading, Timestamp } from '../../../domain/job.ts'
import type { Claim, ShimExit, ShimLife } from '../../processes/shim-client.ts'
import type { Strays } from '../../processes/strays.ts'
import type { Evidence } from '../progress/failure.ts'

export type AttemptState = Live | Readonly<{ phase: 'over' }>

export type Live = Facts &
  Readonly<
    /** Looks for an exit, a shim that answers, or certainty that neither will appear. */
    | { phase: 'seeking'; since: Timestamp; isWatched: boolean }
    /** The shim has answered and will report the exit. */
    | { phase: 'connected'; startedAt: Timestamp }
    /** The shim has ended or never appeared. Looks for the exit a last time. */
    | { phase: 'concluding'; wasKilled: boolean }
    /** Nobody saw the end. The leftover processes are being killed. No trace of a start was found yet. */
    | { phase: 'losing'; mayNotHaveBegun: boolean }
    /** An exit is on disk. Whoever wrote it, no process may be left before it counts. */
    | { phase: 'clearing'; end: Exited }
    /** The end is known. The output is read to its end. */
    | { phase: 'finishing'; end: AttemptEnd }
    /** The result is known. The shim still runs, for some milliseconds. */
    | { phase: 'leaving'; result: GenerationResult }
  >

/** Facts that outlast a phase. */
export type Facts = Readonly<{
  /** Start of the worker. The observer knows it. */
  startedAt?: Timestamp
  /** Latest reading. The observer knows it. */
  reading?: Reading
  /** First stop that was asked for. */
  stop?: StopOrder
  /** Last time at which the disk was full. */
  fullAt?: Timestamp
  /** A look has failed for lack of descriptors, memory or room, which is in the log. */
  isBlind?: true
}>

export type StopOrder = Readonly<{ reason: StopReason; graceMs: number }>

/** `survivors`: number of processes that survived SIGKILL. */
export type AttemptEnd = Exited | Readonly<{ how: 'lost'; survivors: number; diskFull?: true }>

export type Exited = Readonly<{
  how: 'exited'
  exit: ShimExit
  diskFull: boolean
  survivors: number
}>

export type AttemptEvent = Readonly<
  // Wishes of the owner
  | ({ type: 'stopAsked' } & StopOrder)
  | { type: 'detached' }
  // News of a shim that this service had started
  | { type: 'cannotStart'; why: string }
  | { type: 'shimEnded'; signal: string | null }
  /** Nobody will report the end of the shim. */
  | { type: 'shimUnwatched' }
  // Results of the search
  /** `shim`: it reports the exit when no process is left. Anybody can write a file, or pose as a shim. */
  | { type: 'exitFound'; exit: ShimExit; source: 'shim' | 'file' }
  | { type: 'noExitFound' }
  | { type: 'helloReceived'; startedAt: Timestamp | null }
  | { type: 'connectionClosed' }
  | { type: 'claimAnswered'; claim: Claim }
  | { type: 'lifeChecked'; life: ShimLife }
  | { type: 'lookDue' }
  /** The last look found no exit. */
  | { type: 'noExitLeft' }
  | { type: 'observationFailed'; error: unknown }
  // Output
  | { type: 'outputRead'; reading: Reading }
  | { type: 'noRoomSeen' }
  | { type: 'outputFinished'; evidence?: Evidence; hasFiles: boolean }
  // End of the processes
  | { type: 'forceDue' }
  | ({ type: 'cleared'; hasFiles: boolean } & Strays)
  | { type: 'shimGone' }
>

/** Comments name the event that answers an effect. */
export type AttemptEffect = Readonly<
  /** cannotStart, shimEnded or shimUnwatched */
  | { do: 'startShim' }
  /** exitFound or noExitFound */
  | { do: 'lookForExit' }
  /** helloReceived, exitFound, and connectionClosed at last */
  | { do: 'connect' }
  /** claimAnswered */
  | { do: 'revoke' }
  /** lifeChecked */
  | { do: 'checkLife' }
  /** lookDue, after a moment */
  | { do: 'lookAgain' }
  /** lookDue, when descriptors or memory may be free again */
  | { do: 'lookLater' }
  /** exitFound or noExitLeft */
  | { do: 'lookForLastExit' }
  /** cannotStart */
  | { do: 'askWhyNothingStarted' }
  | ({ do: 'sendStop' } & StopOrder)
  /** forceDue */
  | { do: 'expectForce'; afterMs: number }
  /** Kills the worker, then the shim. */
  | { do: 'force' }
  /** Kills all processes of the attempt: cleared */
  | { do: 'clear' }
  /** outputRead and noRoomSeen, any number of times */
  | { do: 'followOutput'; startedAt: Timestamp }
  /** outputFinished */
  | { do: 'finishOutput' }
  /** shimGone */
  | { do: 'awaitShimEnd' }
  /** Closes the connection and the output. The processes go on. */
  | { do: 'letGo' }
  | { do: 'report'; report: AttemptReport }
  | { do: 'log'; level: 'info' | 'warn' | 'error'; fields: object; phrase: string }
>

export type AttemptReport = Readonly<
  | { type: 'started'; at: Timestamp }
  | { type: 'reading'; reading: Reading }
  | { type: 'ended'; result: GenerationResult }
>
