import type { Job, JobId } from '../../../domain/job.ts'
import type { Observation } from '../../../domain/observation.ts'
import type { Asks, Step } from '../../actor.ts'
import { type LinkedList, toArray } from '../../linked-list.ts'
import type { JobOrder, QueueEffect } from '../queue-effects.ts'
import type { CommitResult, QueueOperation, StoredQueue } from '../queue-ports.ts'
import type {
  JobChange,
  QueueCommand,
  QueueMessage,
  QueueNews,
  QueueQuestion,
} from '../queue-protocol.ts'
import type { QueueState } from '../queue-state.ts'

/** See queue-journal.ts. */
export type Journal = Readonly<
  | { phase: 'loading'; early: LinkedList<QueueMessage>; nextTicket: number }
  | { phase: 'open'; committed: QueueState; inFlight?: Batch; turns?: Turns }
  | { phase: 'blocked'; committed: QueueState; news: LinkedList<QueueNews>; error: Error }
>

/** Results of the shell's reads and writes. */
export type JournalNews = Readonly<
  | { type: 'loaded'; stored: StoredQueue }
  | { type: 'written'; result: CommitResult }
  | { type: 'retryDue' }
  | { type: 'jobRead'; order: JobOrder; job: Job | undefined }
  | { type: 'storeFailed'; error: unknown }
>

/** All that the queue's own mailbox takes; others know it as a reference for `QueueMessage`. */
export type QueueMail = QueueMessage | JournalNews

export type JournalEffect =
  | Exclude<QueueEffect, { do: 'store' }>
  | Readonly<
      | { do: 'load' }
      | { do: 'commit'; operations: readonly QueueOperation[] }
      | { do: 'retryLater' }
      /** The queue has been loaded: other actors announce themselves. */
      | { do: 'announce'; queue: QueueState }
      | { do: 'show'; queue: QueueState }
      | { do: 'tellChanges'; changes: ReadonlyMap<JobId, JobChange> }
      | { do: 'tellOfDeliveries' }
      | { do: 'observe'; observation: Observation }
      | { do: 'order'; order: JobOrder; job: Job }
      | { do: 'logBlocked'; error: Error }
      | { do: 'logStale'; why: string }
    >

export type JournalStep = Step<Journal, JournalEffect>

export type Open = Extract<Journal, { phase: 'open' }>

export const newJournal: JournalStep = [
  { phase: 'loading', early: undefined, nextTicket: 1 },
  [{ do: 'load' }],
]

/** Messages handled since the last commit was started, and the state after them. */
export type Turns = Readonly<{ state: QueueState; list: LinkedList<Turn> }>

export type Turn = Readonly<{
  message: QueueCommand | QueueNews
  effects: readonly QueueEffect[]
  observations: readonly Observation[]
}>

export type Batch = Readonly<{
  state: QueueState
  turns: readonly Turn[]
  operations: readonly QueueOperation[]
}>

/** Messages without an answer yet, and tickets that wait for jobs to end. */
export function askersOf(journal: Journal): readonly Partial<Asks<never>>[] {
  if (journal.phase === 'loading') return toArray(journal.early) as Partial<Asks<never>>[]
  const { tickets, closing } = journal.committed
  const own = [...tickets.values(), ...(closing ? [closing] : [])]
  const undone = journal.phase === 'open' ? messagesOf(journal) : []
  return [...own, ...undone] as Partial<Asks<never>>[]
}

export const messagesOf = ({ inFlight, turns }: Open): (QueueCommand | QueueNews)[] =>
  [...(inFlight?.turns ?? []), ...toArray(turns?.list)].map(({ message }) => message)

const questions: Record<QueueQuestion['type'], true> = {
  describeGpus: true,
  describeNodes: true,
  describeQueue: true,
  etaReady: true,
  archiveReady: true,
}
export const isQuestion = (message: QueueMessage): message is QueueQuestion =>
  message.type in questions

const commands: Record<QueueCommand['type'], true> = {
  submit: true,
  admit: true,
  cancel: true,
  drainGpu: true,
  resumeGpu: true,
  disown: true,
  drainNode: true,
  resumeNode: true,
  removeNode: true,
  close: true,
}
export const isCommand = (message: QueueCommand | QueueNews): message is QueueCommand =>
  message.type in commands
export const isNews = (message: QueueCommand | QueueNews): message is QueueNews =>
  !isCommand(message)
