/**
 * The journal in front of the queue's rules. All changes of a run of messages are written in one
 * commit, and their effects are performed after that: no other actor sees a change that is not on disk.
 *
 * - `loading`: the state is being read from the store. Messages are kept.
 * - `open`: `committed` is on disk, a batch is being written, and the next one is collected.
 * - `blocked`: the store cannot write for now. Commands are refused, and news is kept for the next attempt.
 *
 * States are immutable, so a failed commit is undone by going back to `committed`.
 */
import type { GpuId, Timestamp } from '../../../domain/job.ts'
import type { NodeName } from '../../../domain/node.ts'
import { answer, answerFailed } from '../../actor.ts'
import { append, toArray, toList } from '../../linked-list.ts'
import { nodeUse, summaryOf } from '../queue-answers.ts'
import type { QueueEffect } from '../queue-effects.ts'
import type { CommitResult, QueueOperation, StoredQueue } from '../queue-ports.ts'
import type { QueueCommand, QueueMessage, QueueNews, QueueQuestion } from '../queue-protocol.ts'
import { restoreQueue } from '../queue-restore.ts'
import { gpuUse, type QueueSettings, type QueueState } from '../queue-state.ts'
import { transition } from '../rules/queue-transition.ts'
import { mayBeStored, undo } from '../rules/undo-rules.ts'
import { changesBetween } from './changes.ts'
import { gpuWorkOf, gpuWorkSince } from './gpu-work.ts'
import {
  type Batch,
  isCommand,
  isNews,
  isQuestion,
  type Journal,
  type JournalEffect,
  type JournalStep,
  messagesOf,
  type Open,
  type QueueMail,
  type Turns,
} from './journal-state.ts'
import { latestNews } from './latest-news.ts'
import { observationsOf } from './observations.ts'

export type JournalOptions = Readonly<{
  settings: QueueSettings
  /** The node that has a GPU, whether it is there or not. */
  nodeOf?(gpu: GpuId): NodeName | undefined
}>

export function createJournal({ settings, nodeOf }: JournalOptions) {
  return { receive, settle }

  function receive(
    journal: Journal,
    mail: QueueMail,
    at: Timestamp,
    steady: Timestamp = at,
  ): JournalStep {
    switch (mail.type) {
      case 'loaded':
        return journal.phase === 'loading' ? open(journal, mail.stored, at, steady) : [journal, []]
      case 'written':
        return journal.phase === 'open' ? written(journal, mail.result) : [journal, []]
      case 'retryDue':
        return journal.phase === 'blocked' ? retry(journal, at, steady) : [journal, []]
      case 'jobRead': {
        const { order, job } = mail
        return [journal, job ? [{ do: 'order', order, job }] : []]
      }
      // A record that cannot be read is a crash: the next incarnation starts from the store.
      case 'storeFailed':
        throw mail.error
    }
    if (journal.phase === 'loading') {
      return [{ ...journal, early: append(journal.early, mail) }, []]
    }
    if (isQuestion(mail)) return [journal, [reply(mail, journal.committed)]]
    if (journal.phase === 'open') return [decide(journal, mail, at, steady), []]
    if (isNews(mail)) return [{ ...journal, news: append(journal.news, mail) }, []]
    const [committed, effects] = undo(journal.committed, mail, journal.error)
    return [{ ...journal, committed }, effects.filter(isPerformed)]
  }

  function open(
    { early, nextTicket }: Extract<Journal, { phase: 'loading' }>,
    stored: StoredQueue,
    at: Timestamp,
    steady: Timestamp,
  ): JournalStep {
    const committed = { ...restoreQueue(settings, stored, nodeOf), nextTicket }
    let journal: Journal = { phase: 'open', committed }
    const effects: JournalEffect[] = [
      { do: 'announce', queue: committed },
      {
        do: 'observe',
        observation: { saw: 'gpuWork', gpus: gpuWorkOf(committed), rest: 'gone' },
      },
      { do: 'show', queue: committed },
    ]
    for (const message of toArray(early)) {
      const [next, more] = receive(journal, message, at, steady)
      journal = next
      effects.push(...more)
    }
    return [journal, effects]
  }

  function reply(question: QueueQuestion, committed: QueueState): JournalEffect {
    switch (question.type) {
      case 'describeGpus':
        return answer(
          question.replyTo,
          [...committed.nodeOf.keys()].map((gpu) => gpuUse(committed, gpu)),
        )
      case 'describeNodes':
        return answer(
          question.replyTo,
          [...committed.nodes.values()].map((node) => nodeUse(committed, node)),
        )
      case 'describeQueue':
        return answer(question.replyTo, summaryOf(committed))
      case 'etaReady':
      case 'archiveReady':
        return { do: 'show', queue: committed }
    }
  }
}

function decide(
  journal: Open,
  message: QueueCommand | QueueNews,
  at: Timestamp,
  steady: Timestamp,
): Open {
  const latest = journal.turns?.state ?? journal.inFlight?.state ?? journal.committed
  const [state, effects] = transition(latest, message, at, steady)
  const turn = { message, effects, observations: observationsOf(latest, state, effects) }
  return { ...journal, turns: { state, list: append(journal.turns?.list, turn) } }
}

/** Starts the commit of a run of messages, unless one is under way. */
function settle(journal: Journal): JournalStep {
  if (journal.phase !== 'open' || journal.inFlight || !journal.turns) return [journal, []]
  const { committed, turns } = journal
  const batch = batchOf(turns)
  if (batch.operations.length === 0) return release({ phase: 'open', committed }, batch)
  const { operations } = batch
  return [{ phase: 'open', committed, inFlight: batch }, [{ do: 'commit', operations }]]
}

function batchOf({ state, list }: Turns): Batch {
  const turns = toArray(list)
  const operations: QueueOperation[] = []
  for (const { effects } of turns) {
    for (const effect of effects) if (effect.do === 'store') operations.push(effect.operation)
  }
  return { state, turns, operations }
}

function written(journal: Open, result: CommitResult): JournalStep {
  const { inFlight, ...rest } = journal
  if (!inFlight) return [journal, []]
  switch (result.how) {
    case 'committed':
      return release(rest, inFlight)
    case 'full':
    case 'locked':
    case 'unreachable':
      return block(journal, result.error)
    case 'stale':
      return reload(journal, result.why)
  }
}

/** The batch is durable: its effects are performed. */
function release(journal: Open, { state, turns, operations }: Batch): JournalStep {
  const { committed } = journal
  const changes = changesBetween(committed, state, operations)
  const effects: JournalEffect[] = []
  for (const { observations } of turns) {
    for (const observation of observations) effects.push({ do: 'observe', observation })
  }
  if (state !== committed) {
    effects.push({ do: 'observe', observation: gpuWorkSince(committed, state) })
    effects.push({ do: 'show', queue: state })
  }
  if (changes.size > 0) effects.push({ do: 'tellChanges', changes })
  if (operations.some(({ op }) => op === 'finish')) effects.push({ do: 'tellOfDeliveries' })
  for (const turn of turns) {
    for (const effect of turn.effects) if (isPerformed(effect)) effects.push(effect)
  }
  return [{ ...journal, committed: state }, effects]
}

function block(journal: Open, error: Error): JournalStep {
  const undone = messagesOf(journal)
  let { committed } = journal
  const effects: JournalEffect[] = [{ do: 'logBlocked', error }]
  for (const command of undone.filter(isCommand)) {
    const [next, more] = undo(committed, command, error)
    committed = next
    effects.push(...more.filter(isPerformed))
  }
  const news = toList(latestNews(undone.filter(isNews)))
  return [{ phase: 'blocked', committed, news, error }, [...effects, { do: 'retryLater' }]]
}

function retry(
  { committed, news, error }: Extract<Journal, { phase: 'blocked' }>,
  at: Timestamp,
  steady: Timestamp,
): JournalStep {
  let journal: Open = { phase: 'open', committed }
  // The store says whether the changes in doubt are stored, before anything rests on either.
  const isInDoubt = mayBeStored(error)
  if (isInDoubt) {
    journal = { ...journal, inFlight: { state: committed, turns: [], operations: [] } }
  }
  for (const message of toArray(news)) journal = decide(journal, message, at, steady)
  return [journal, isInDoubt ? [{ do: 'commit', operations: [] }] : []]
}

/** Memory and disk disagree: loads the store again, as a new incarnation would. */
function reload(journal: Open, why: string): JournalStep {
  const { committed } = journal
  const error = new Error(`the queue was loaded again: ${why}`)
  const commands = messagesOf(journal).filter(isCommand)
  // A shutdown continues to wait for the end of all work.
  const closing = commands.filter((command) => command.type === 'close')
  if (committed.closing) closing.push({ type: 'close', ...committed.closing })
  const effects = commands
    .filter((command) => command.type !== 'close')
    .flatMap((command) => undo(committed, command, error)[1])
  const waiting = [...committed.tickets.values()].map(({ replyTo }) =>
    answerFailed(replyTo, 'the queue was loaded again', error),
  )
  return [
    { phase: 'loading', early: toList<QueueMessage>(closing), nextTicket: committed.nextTicket },
    [{ do: 'logStale', why }, ...effects.filter(isPerformed), ...waiting, { do: 'load' }],
  ]
}

const isPerformed = (effect: QueueEffect): effect is Exclude<QueueEffect, { do: 'store' }> =>
  effect.do !== 'store'
