import { RefusalError } from '../../domain/errors.ts'
import type { Logger } from '../../domain/log.ts'
import type { Observe } from '../../domain/observation.ts'
import { wallNow } from '../../domain/time.ts'
import {
  type ActorRef,
  type AnswerEffect,
  actorOf,
  type Behaviour,
  pipe,
  pipeAnswer,
  tell,
  tellAskerItFailed,
  tellLater,
} from '../actor.ts'
import type { EventMessage } from '../event/event-protocol.ts'
import { observedCommit } from '../queue/observed-commit.ts'
import { view } from '../queue/queue-answers.ts'
import type { QueueMessage } from '../queue/queue-protocol.ts'
import { whyBlocked } from '../queue/rules/undo-rules.ts'
import type { ArchiveEffect } from './archive-effects.ts'
import type { ArchiveStore } from './archive-ports.ts'
import type { ArchiveMail, PinAnswer } from './archive-protocol.ts'
import { createArchiveReads } from './archive-reads.ts'
import { type ArchiveState, askersOf } from './archive-state.ts'
import { firstTurn, transition } from './archive-transition.ts'
import type { ArchiveWork } from './archive-work.ts'

export type ArchiveActorOptions = Readonly<{
  store: ArchiveStore
  /** Shared by all incarnations. */
  work: ArchiveWork
  queue: ActorRef<QueueMessage>
  events: ActorRef<EventMessage>
  observe: Observe
  log: Logger
}>

/** How long to wait before trying again to write what the store could not take. */
const retryMs = 1_000

/** A machine that does not answer holds up all work on files for half a minute each time. */
const completeMs = 60_000

/** Owns finished jobs: pins and deletes them. Answers questions about all jobs. */
export function archiveBehaviour({
  store,
  work,
  queue,
  events,
  observe,
  log,
}: ArchiveActorOptions): Behaviour<ArchiveState, ArchiveMail> {
  const reads = createArchiveReads(store)
  const life = new AbortController()

  return actorOf<ArchiveState, ArchiveMail, ArchiveEffect>({
    initial: firstTurn,
    transition: (state, mail) => transition(state, mail, wallNow()),
    perform,
    terminate(state) {
      life.abort()
      for (const asker of askersOf(state)) {
        tellAskerItFailed(asker, 'the archive ended before it could answer')
      }
    },
  })

  function perform(
    effect: Exclude<ArchiveEffect, AnswerEffect>,
    self: ActorRef<ArchiveMail>,
  ): void {
    switch (effect.do) {
      case 'announce':
        tell(queue, { type: 'archiveReady' })
        break
      case 'readRemovals':
        pipe(
          self,
          work.announcedRemovals(),
          (removals) => ({ type: 'removalsRead', removals }),
          (error) => ({ type: 'storeFailed', error }),
        )
        break
      case 'survey':
        pipe(
          self,
          work.survey(effect.afterSeq),
          (page) => ({ type: 'surveyed', ...page }),
          (error) => ({ type: 'surveyFailed', error }),
        )
        break
      case 'read':
        reads.reply(effect.question, effect.queue)
        break
      case 'selectVideos': {
        const { command } = effect
        const { selection, scope, replyTo } = command
        pipe(
          self,
          store.videosToDelete(selection, scope),
          (jobs) => ({ type: 'videosSelected', command, jobIds: jobs.map(({ id }) => id) }),
          (error) => ({ type: 'selectionFailed', error, replyTo }),
        )
        break
      }
      case 'work':
        pipe(
          self,
          work.carryOut(effect.tasks, wallNow(), life.signal),
          (outcomes) => ({ type: 'worked', outcomes }),
          (error) => ({ type: 'storeFailed', error }),
        )
        break
      case 'commit':
        pipe(
          self,
          observedCommit(observe, effect.operations, work.commit),
          (result) => ({ type: 'written', result }),
          (error) => ({ type: 'storeFailed', error }),
        )
        break
      case 'retryLater':
        tellLater(self, retryMs, { type: 'retryDue' })
        break
      case 'completeLater':
        tellLater(self, completeMs, { type: 'completionDue' })
        break
      case 'answerPinned':
        pipeAnswer(effect.replyTo, pinned(effect), 'the store could not be read')
        break
      case 'tellChanges':
        tell(events, { type: 'jobsChanged', changes: effect.changes })
        break
      case 'logChange': {
        const { do: _, ...fields } = effect
        log.info(fields, 'job changed')
        break
      }
      case 'logLost': {
        const { lost } = effect
        log.warn({ lost }, 'files of videos were removed or replaced by somebody else')
        break
      }
      case 'logKept':
        log.error({ count: effect.count, err: effect.error }, 'files could not be deleted')
        break
      case 'logUnconfirmed':
        log.warn(
          { count: effect.count, err: effect.error },
          'a machine did not confirm that it deleted files; it is asked again',
        )
        break
      case 'logSurveyFailed':
        log.error(
          { err: effect.error },
          'the files of videos could not be compared with the records',
        )
        break
      case 'logBlocked':
        log.error(
          { err: effect.error },
          `${whyBlocked(effect.error)}; the archive waits until it can write`,
        )
        break
      case 'logStale':
        log.error({ reason: effect.why }, 'the store refused a stale change of the archive')
        break
      default:
        effect satisfies never
    }
  }

  async function pinned({
    jobId,
    scope,
    queue,
  }: Extract<ArchiveEffect, { do: 'answerPinned' }>): Promise<PinAnswer> {
    const job = await work.find(jobId, scope)
    if (job instanceof RefusalError) return job
    return queue ? view(job, queue) : { job }
  }
}
