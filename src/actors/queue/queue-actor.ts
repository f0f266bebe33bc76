import { causeOf } from '../../domain/client.ts'
import type { JobId } from '../../domain/job.ts'
import type { Logger } from '../../domain/log.ts'
import type { Observe } from '../../domain/observation.ts'
import { steadyNow, wallNow } from '../../domain/time.ts'
import {
  type ActorRef,
  type AnswerEffect,
  actorOf,
  type Behaviour,
  pipe,
  tell,
  tellAskerItFailed,
  tellLater,
} from '../actor.ts'
import type { ArchiveMessage } from '../archive/archive-protocol.ts'
import type { EtaMessage } from '../eta/eta-protocol.ts'
import type { EventMessage } from '../event/event-protocol.ts'
import { size } from '../ordered-map.ts'
import type { WebhookMessage } from '../webhook/webhook-protocol.ts'
import type { Fleet } from './fleet.ts'
import {
  askersOf,
  type Journal,
  type JournalEffect,
  newJournal,
  type QueueMail,
} from './journal/journal-state.ts'
import { createJournal } from './journal/queue-journal.ts'
import { createNodeOrders } from './node-orders.ts'
import { observedCommit } from './observed-commit.ts'
import type { QueueStore, ResultFiles, WorkFiles } from './queue-ports.ts'
import type { QueueSettings, QueueState } from './queue-state.ts'
import { absentCareMs } from './rules/gpu-rules.ts'
import { quotaPeriodMs } from './rules/quota-rules.ts'
import { whyBlocked } from './rules/undo-rules.ts'
import { createSubmissionWork } from './submission-work.ts'

export type QueueActorOptions = Readonly<{
  settings: QueueSettings
  store: QueueStore
  results: ResultFiles
  workFiles: WorkFiles
  fleet: Fleet
  archive: ActorRef<ArchiveMessage>
  eta: ActorRef<EtaMessage>
  events: ActorRef<EventMessage>
  webhooks: ActorRef<WebhookMessage>
  observe: Observe
  log: Logger
}>

/** How long to wait before trying again to write what the store could not take. */
const retryMs = 1_000

/** Owns jobs up to their end: their order, their states, their claims. */
export function queueBehaviour(options: QueueActorOptions): Behaviour<Journal, QueueMail> {
  const { settings, store, workFiles, fleet } = options
  const { archive, eta, events, webhooks, observe, log } = options
  const work = createSubmissionWork(options)
  const orders = createNodeOrders(fleet)
  const { receive, settle } = createJournal({ settings, nodeOf: fleet.nodeOf })

  return actorOf<Journal, QueueMail, JournalEffect>({
    initial: newJournal,
    transition: (journal, mail) => receive(journal, mail, wallNow(), steadyNow()),
    settle,
    perform,
    terminate(journal) {
      for (const asker of askersOf(journal)) {
        tellAskerItFailed(asker, 'the queue ended before it could answer')
      }
    },
  })

  function perform(effect: Exclude<JournalEffect, AnswerEffect>, self: ActorRef<QueueMail>): void {
    switch (effect.do) {
      case 'load':
        pipe(
          self,
          store.load(steadyNow() - quotaPeriodMs),
          (stored) => ({ type: 'loaded', stored }),
          storeFailed,
        )
        break
      case 'commit':
        pipe(
          self,
          observedCommit(observe, effect.operations, store.commit),
          (result) => ({ type: 'written', result }),
          storeFailed,
        )
        break
      case 'retryLater':
        tellLater(self, retryMs, { type: 'retryDue' })
        break
      case 'announce':
        announce(effect.queue, self)
        break
      case 'show':
        tell(eta, { type: 'queueChanged', queue: effect.queue })
        tell(archive, { type: 'queueChanged', queue: effect.queue })
        break
      case 'tellChanges':
        tell(events, { type: 'jobsChanged', changes: effect.changes })
        break
      case 'tellOfDeliveries':
        tell(webhooks, { type: 'deliveriesAdded' })
        break
      case 'observe':
        observe(effect.observation)
        break
      case 'prepareSubmission': {
        const { replyTo, draft } = effect
        pipe(
          self,
          work.prepare(effect),
          (prepared) => ({ type: 'admit', ...prepared, ...causeOf(effect), replyTo }),
          (error) => ({ type: 'preparationFailed', filename: draft.filename, error, replyTo }),
        )
        break
      }
      case 'findRepeated': {
        const { jobId, replyTo } = effect
        pipe(
          self,
          Promise.all([store.find(jobId, 'everything'), store.findWebhook(jobId)]),
          ([job, webhook]) => ({ type: 'repetitionFound', jobId, job, webhook, replyTo }),
          (error) => ({ type: 'preparationFailed', filename: undefined, error, replyTo }),
        )
        break
      }
      case 'continueCancel':
        tell(self, { type: 'cancelContinues', ticket: effect.ticket })
        break
      case 'expectPause': {
        const { node, pause, withinMs } = effect
        tellLater(self, withinMs, { type: 'pauseEnded', node, pause })
        break
      }
      case 'checkEnvironment':
        orders.tellAt(effect.node, ({ node }) => tell(node, { type: 'lookAgain' }))
        break
      case 'expectCare': {
        const { jobId, epoch, withinMs } = effect
        tellLater(self, withinMs, { type: 'careDue', jobId, epoch })
        break
      }
      case 'expectLoad': {
        const { jobId, epoch, withinMs } = effect
        tellLater(self, withinMs, { type: 'loadOverdue', jobId, epoch })
        break
      }
      case 'giveTemplateTurn':
        orders.tellAt(effect.node, ({ template }) =>
          tell(template, { type: 'turnCame', build: effect.build }),
        )
        break
      case 'expectTemplate': {
        const { node, build, withinMs } = effect
        tellLater(self, withinMs, { type: 'templateOverdue', node, build })
        break
      }
      case 'expectCancel':
        tellLater(self, effect.withinMs, { type: 'cancelOverdue', ticket: effect.ticket })
        break
      case 'expectProbe': {
        const { gpu, since, withinMs } = effect
        tellLater(self, withinMs, { type: 'probeDue', gpu, since })
        break
      }
      case 'startGeneration':
      case 'adoptGeneration':
      case 'careFor':
      case 'convert':
      // Reads the job too: otherwise it would overtake `convert`.
      case 'abortConversion':
        pipe(
          self,
          store.find(effect.jobId, 'everything'),
          (job) => ({ type: 'jobRead', order: effect, job }),
          storeFailed,
        )
        break
      case 'order':
        give(effect, self)
        break
      case 'welcomeNode':
        orders.tellAt(effect.node, ({ node }) => tell(node, { type: 'welcome' }))
        break
      case 'stopGeneration': {
        const { do: _, gpu, ...attempt } = effect
        orders.stop(gpu, attempt)
        break
      }
      case 'discardWork':
        discardWork(effect.jobId, self)
        break
      case 'tellEta':
        tell(eta, { type: 'attemptSucceeded', attempt: effect.attempt })
        break
      case 'logHold': {
        const { node, hold } = effect
        if (hold)
          log.error({ node, reason: hold.detail }, 'no job is claimed: the environment fails')
        else log.info({ node }, 'jobs are claimed again: the environment works')
        break
      }
      case 'logGpu': {
        const { gpu, health } = effect
        log.warn({ gpu, ...health, ...causeOf(effect) }, 'gpu health')
        break
      }
      case 'logStatus': {
        const { do: _, ...fields } = effect
        log.info(fields, 'job status')
        break
      }
      case 'logBlocked':
        log.error(
          { err: effect.error },
          `${whyBlocked(effect.error)}; the queue waits until it can write`,
        )
        break
      case 'logStale':
        log.error(
          { reason: effect.why },
          'the store refused a stale change; the queue is loaded again',
        )
        break
      default:
        effect satisfies never
    }
  }

  function announce({ waiting, running }: QueueState, self: ActorRef<QueueMail>): void {
    log.info({ queued: size(waiting), running: running.size }, 'queue restored')
    fleet.queueRestored()
    tell(events, { type: 'queueRestored' })
    // An actor that was given up before does not answer.
    for (const { jobId, epoch, phase } of running.values()) {
      if (phase === 'generating') tellLater(self, absentCareMs, { type: 'careDue', jobId, epoch })
    }
  }

  function give(
    { order, job }: Extract<JournalEffect, { do: 'order' }>,
    self: ActorRef<QueueMail>,
  ): void {
    const { jobId, epoch } = order
    const isGiven = orders.give(order, job)
    if (order.do === 'startGeneration' && !isGiven) {
      tell(self, { type: 'runDeclined', jobId, epoch })
    }
  }

  function discardWork(jobId: JobId, self: ActorRef<QueueMail>): void {
    const logFailure = (error: unknown) => {
      log.warn({ err: error, jobId }, 'work files could not be removed')
      return undefined
    }
    pipe(self, workFiles.discard(jobId), () => undefined, logFailure)
  }
}

const storeFailed = (error: unknown) => ({ type: 'storeFailed', error }) as const
