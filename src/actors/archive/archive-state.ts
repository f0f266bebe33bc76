import type { Asks } from '../actor.ts'
import { type LinkedList, toArray } from '../linked-list.ts'
import { type OrderedMap, set, values } from '../ordered-map.ts'
import type { QueueSnapshot } from '../queue/queue-state.ts'
import type { ArchiveOperation } from './archive-ports.ts'
import type {
  ArchiveCommand,
  ArchiveOrder,
  ArchiveQuestion,
  Task,
  TaskOutcome,
} from './archive-protocol.ts'

export type ArchiveState = Readonly<{
  /** Latest committed state of the queue. Absent until the queue has sent it. */
  queue?: QueueSnapshot
  /** Removals that a previous run or incarnation announced are known, and come first. */
  isRecovered: boolean
  /** Announced removals are read again in a while: some of them have no confirmation. */
  completesLater: boolean
  /** Messages from before that: questions wait for the queue alone. */
  early: LinkedList<ArchiveCommand | ArchiveQuestion>
  /** Requests that wait for their turn, by number: the lowest is next. */
  requests: OrderedMap<number, Request>
  nextNumber: number
  /** At most one, so that two requests never work on the same job or file. */
  step?: ArchiveStep
}>

/** A command, its tasks, and the outcomes of those that have been carried out. */
export type Request = Readonly<{
  command: ArchiveOrder
  tasks: readonly Task[]
  outcomes: readonly TaskOutcome[]
}>

/** A few jobs that are worked on together: files first, then all their records in one commit. */
export type ArchiveStep = Readonly<
  | { phase: 'working'; shares: readonly Share[] }
  | { phase: 'writing'; shares: readonly DoneShare[]; operations: readonly ArchiveOperation[] }
  /** The disk is full. Files are deleted already, so the commit is tried until it succeeds. */
  | {
      phase: 'blocked'
      shares: readonly DoneShare[]
      operations: readonly ArchiveOperation[]
      error: Error
    }
>

/** The tasks of one request in a step. */
export type Share = Readonly<{ request: Request; tasks: readonly Task[] }>
export type DoneShare = Share & Readonly<{ outcomes: readonly TaskOutcome[] }>

export const newArchive: ArchiveState = {
  isRecovered: false,
  completesLater: false,
  early: undefined,
  requests: undefined,
  nextNumber: 1,
}

export const addRequest = (state: ArchiveState, request: Request): ArchiveState => ({
  ...state,
  requests: set(state.requests, state.nextNumber, request),
  nextNumber: state.nextNumber + 1,
})

/** Messages without an answer yet. */
export const askersOf = ({
  early,
  requests,
  step,
}: ArchiveState): readonly Partial<Asks<never>>[] =>
  [
    ...toArray(early),
    ...(step?.shares ?? []).map(({ request }) => request.command),
    ...[...values(requests)].map(({ command }) => command),
  ] as Partial<Asks<never>>[]
