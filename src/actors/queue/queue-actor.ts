import { causeOf } from '../../domain/client.ts'
import { DiskFullError, RefusalError } from '../../domain/errors.ts'
import type { GpuId, Job, JobId } from '../../domain/job.ts'
import type { Logger } from '../../domain/log.ts'
import type { Observation, Observe } from '../../domain/observation.ts'
import { type ActorRef, type Behaviour, tell, tellAskerItFailed } from '../actor.ts'
import type { ConversionMessage } from '../conversion/conversion-protocol.ts'
import type { EtaMessage } from '../eta/eta-protocol.ts'
import type { EventMessage } from '../event/event-protocol.ts'
import type { GpuMessage } from '../gpu/gpu-protocol.ts'
import type { WebhookMessage } from '../webhook/webhook-protocol.ts'
import { changesBetween } from './changes.ts'
import { createFileWork } from './file-work.ts'
import { observationsOf } from './observations.ts'
import { createAnswers, view } from './queue-answers.ts'
import type { JobStore, StoredQueue, StoreOperation, VideoFiles, WorkFiles } from './queue-ports.ts'
import type {
  JobView,
  QueueCommand,
  QueueEffect,
  QueueMessage,
  QueueNews,
  QueueQuestion,
  QueueSettings,
  QueueState,
} from './queue-protocol.ts'
import { gpusAtWork, restoreQueue } from './queue-state.ts'
import { transition } from './queue-transition.ts'
import { quotaPeriodMs } from './quota-rules.ts'
import { noLonger } from './repeat-rules.ts'

export type QueueActorOptions = Readonly<{
  settings: QueueSettings
  store: JobStore
  videoFiles: VideoFiles
  workFiles: WorkFiles
  gpus: ReadonlyMap<GpuId, ActorRef<GpuMessage>>
  conversion: ActorRef<ConversionMessage>
  eta: ActorRef<EtaMessage>
  events: ActorRef<EventMessage>
  webhooks: ActorRef<WebhookMessage>
  observe: Observe
  log: Logger
}>

/** What the shell tells itself: how its own reading and writing went. */
type Internal =
  | { type: 'loaded'; stored: StoredQueue }
  | { type: 'readFailed'; error: unknown }
  | { type: 'committed' }
  | { type: 'commitFailed'; error: unknown }
  | { type: 'retryDue' }

/** All that the queue's own address takes; others know it as an address for `QueueMessage`. */
export type QueueMail = QueueMessage | Internal

/** Messages handled together: what they led to, and what is to be done once the store has it. */
type Batch = {
  state: QueueState
  messages: (QueueCommand | QueueNews)[]
  operations: StoreOperation[]
  effects: QueueEffect[]
  observations: Observation[]
}

/** How long to wait before trying again to write what the store could not take. */
const retryMs = 1_000

/**
 * Owns jobs: their order, their states, their claims; the only writer of job state.
 *
 * Everything a turn changes goes to the store in one commit, and nobody is told anything before
 * that commit is durable. Since states are immutable, a commit that fails is undone by going back
 * to the last state that is on disk: who asked is refused, and news is kept until it can be written.
 */
export function queueBehaviour(options: QueueActorOptions): Behaviour<null, QueueMail> {
  const { settings, store, workFiles, gpus, conversion, eta, events, webhooks } = options
  const { observe, log } = options
  const answers = createAnswers({ store, gpus: [...gpus.keys()] })
  const work = createFileWork(options)
  /** On disk, and what others may see. */
  let committed: QueueState | undefined
  let inFlight: Batch | undefined
  let batch: Batch | undefined
  let early: QueueMessage[] = []
  let unwritten: { news: QueueNews[]; error: unknown } | undefined

  return {
    init(self) {
      void store.load(Date.now() - quotaPeriodMs).then(
        (stored) => tell(self, { type: 'loaded', stored }),
        (error: unknown) => tell(self, { type: 'readFailed', error }),
      )
      return null
    },

    receive(_, mail, self) {
      switch (mail.type) {
        case 'loaded':
          begin(mail.stored, self)
          return null
        case 'committed':
          release(self)
          return null
        case 'commitFailed':
          rollBack(mail.error, self)
          return null
        case 'retryDue':
          retry()
          return null
        case 'readFailed':
          throw mail.error
      }
      if (!committed) early.push(mail)
      else if (isQuestion(mail)) answers.answer(mail, committed)
      else handle(mail)
      return null
    },

    settle(_, self) {
      flush(self)
      return null
    },

    terminate() {
      for (const message of [...early, ...(inFlight?.messages ?? []), ...(batch?.messages ?? [])]) {
        tellAskerItFailed(message, 'the queue ended before it could answer')
      }
    },
  }

  function begin(stored: StoredQueue, self: ActorRef<QueueMail>): void {
    committed = restoreQueue(settings, stored)
    log.info({ queued: stored.waiting.length, running: stored.running.length }, 'queue restored')
    observe({ saw: 'gpusAtWork', gpus: gpusAtWork(committed) })
    tell(conversion, { type: 'announce' })
    for (const gpu of gpus.values()) tell(gpu, { type: 'announce' })
    const kept = early
    early = []
    for (const message of kept) tell(self, message)
    tell(events, { type: 'queueRestored' })
    showEta()
  }

  function handle(message: QueueCommand | QueueNews): void {
    if (unwritten) {
      if (isNews(message)) unwritten.news.push(message)
      else refuse(message, unwritten.error)
      return
    }
    const latest = batch?.state ?? inFlight?.state ?? committed
    if (!latest) return
    const [state, effects] = transition(latest, message, Date.now())
    batch ??= { state, messages: [], operations: [], effects: [], observations: [] }
    batch.state = state
    batch.messages.push(message)
    batch.observations.push(...observationsOf(latest, state, effects))
    for (const effect of effects) {
      if (effect.do === 'store') batch.operations.push(effect.operation)
      else batch.effects.push(effect)
    }
  }

  function flush(self: ActorRef<QueueMail>): void {
    if (inFlight || !batch) return
    inFlight = batch
    batch = undefined
    if (inFlight.operations.length === 0) {
      release(self)
      return
    }
    const operations = inFlight.operations.length
    const begun = performance.now()
    void store.commit(inFlight.operations).then(
      () => {
        observe({ saw: 'committed', operations, tookMs: performance.now() - begun })
        tell(self, { type: 'committed' })
      },
      (error: unknown) => {
        observe({ saw: 'commitFailed' })
        tell(self, { type: 'commitFailed', error })
      },
    )
  }

  /** What the batch in flight changed is durable: now it may be known, and acted on. */
  function release(self: ActorRef<QueueMail>): void {
    const done = inFlight
    inFlight = undefined
    if (!done || !committed) return
    const changes = changesBetween(committed, done.state, done.operations)
    committed = done.state
    for (const observation of done.observations) observe(observation)
    observe({ saw: 'gpusAtWork', gpus: gpusAtWork(committed) })
    showEta()
    if (changes.size > 0) tell(events, { type: 'jobsChanged', changes })
    if (done.operations.some(({ op }) => op === 'finish'))
      tell(webhooks, { type: 'deliveriesAdded' })
    for (const effect of done.effects) perform(effect, self)
  }

  function rollBack(error: unknown, self: ActorRef<QueueMail>): void {
    // Anything but a full disk says that disk and memory disagree: start anew from the disk.
    if (!(error instanceof DiskFullError)) throw error
    log.error({ err: error }, 'the disk is full; the queue waits until it can write')
    const undone = [...(inFlight?.messages ?? []), ...(batch?.messages ?? [])]
    inFlight = batch = undefined
    unwritten = { news: undone.filter(isNews), error }
    for (const message of undone) if (!isNews(message)) refuse(message, error)
    setTimeout(() => tell(self, { type: 'retryDue' }), retryMs).unref()
  }

  function retry(): void {
    const news = unwritten?.news ?? []
    unwritten = undefined
    for (const message of news) handle(message)
  }

  function refuse(message: QueueCommand, error: unknown): void {
    if (message.type === 'admit') discardWork(message.jobId)
    const full = error instanceof DiskFullError
    if ((message.type === 'submit' || message.type === 'admit') && full) {
      tell(
        message.replyTo,
        new RefusalError('disk_full', 'The disk is full; the job was not taken.'),
      )
    } else tellAskerItFailed(message, 'the store could not write', error)
  }

  function showEta(): void {
    if (committed) tell(eta, { type: 'queueChanged', queue: committed })
  }

  function perform(effect: QueueEffect, self: ActorRef<QueueMail>): void {
    switch (effect.do) {
      case 'store':
        break // Already written: that is why the effects are performed now.
      case 'prepareSubmission':
        void work.prepare(effect).then(
          (prepared) =>
            tell(self, { type: 'admit', ...prepared, ...causeOf(effect), replyTo: effect.replyTo }),
          (error: unknown) => tellAskerItFailed(effect, 'the name could not be checked', error),
        )
        break
      case 'answerSubmit':
        tell(effect.to, effect.answer)
        break
      case 'answerRepeated': {
        const { to, jobId } = effect
        void store.find(jobId, 'everything').then(
          (job) => tell(to, job ? { ...viewNow(job), repeated: true } : noLonger(jobId)),
          (error: unknown) =>
            tellAskerItFailed({ replyTo: to }, 'the store could not be read', error),
        )
        break
      }
      case 'answerCancel':
        tell(effect.to, effect.answer)
        break
      case 'expectCancel': {
        const { ticket, withinMs } = effect
        setTimeout(() => tell(self, { type: 'cancelOverdue', ticket }), withinMs).unref()
        break
      }
      case 'expectProbe': {
        const { gpu, since, withinMs } = effect
        setTimeout(() => tell(self, { type: 'probeDue', gpu, since }), withinMs).unref()
        break
      }
      case 'answerGpu':
        tell(effect.to, effect.answer)
        break
      case 'answerClosed':
        tell(effect.to, 'closed')
        break
      case 'logGpu': {
        const { gpu, health } = effect
        log.warn({ gpu, ...health, ...causeOf(effect) }, 'gpu health')
        break
      }
      case 'startGeneration':
      case 'adoptGeneration':
        order(effect, self)
        break
      case 'stopGeneration': {
        const { jobId, epoch, gpu, reason } = effect
        // Not running: then its next incarnation is told when it announces itself.
        tellGpu(gpu, { type: 'stopGeneration', jobId, epoch, reason })
        break
      }
      case 'convert': {
        const { jobId, epoch, filename } = effect
        withJob(jobId, self, ({ request }) => {
          tell(conversion, { type: 'convert', jobId, epoch, filename, request })
        })
        break
      }
      case 'abortConversion': {
        const { jobId, epoch } = effect
        // The same way as `convert`, which it would overtake otherwise.
        withJob(jobId, self, () => tell(conversion, { type: 'abort', jobId, epoch }))
        break
      }
      case 'discardWork':
        discardWork(effect.jobId)
        break
      case 'removeVideos':
        void work.removeVideos(effect).then(
          (jobs) =>
            tell(self, {
              type: 'videosRemoved',
              jobs,
              ...causeOf(effect),
              replyTo: effect.replyTo,
            }),
          (error: unknown) => tellAskerItFailed(effect, 'the files could not be removed', error),
        )
        break
      case 'removeJob':
        void work.removeJob(effect).then(
          (outcome) => {
            const { jobId, replyTo } = effect
            if (outcome !== 'removed') tell(replyTo, outcome)
            else tell(self, { type: 'jobFilesRemoved', jobId, ...causeOf(effect), replyTo })
          },
          (error: unknown) => tellAskerItFailed(effect, 'the job could not be removed', error),
        )
        break
      case 'expireJobs': {
        const { jobIds, replyTo } = effect
        void work.expireJobs(jobIds).then((answer) => {
          tell(self, { type: 'jobsExpired', jobIds, answer, replyTo })
        })
        break
      }
      case 'answerExpired':
        tell(effect.to, effect.answer)
        break
      case 'findForPin': {
        const { do: _, ...asked } = effect
        void work.find(asked).then(
          (job) => {
            if (job instanceof RefusalError) tell(asked.replyTo, job)
            else tell(self, { type: 'setPin', ...asked })
          },
          (error: unknown) => tellAskerItFailed(asked, 'the store could not be read', error),
        )
        break
      }
      case 'answerPin':
        tell(effect.to, effect.answer)
        break
      case 'answerPinned':
        void work.find(effect).then(
          (job) => tell(effect.replyTo, job instanceof RefusalError ? job : viewNow(job)),
          (error: unknown) => tellAskerItFailed(effect, 'the store could not be read', error),
        )
        break
      case 'answerRemove':
        tell(effect.to, effect.answer)
        break
      case 'answerDeleted':
        tell(effect.to, effect.jobs)
        break
      case 'tellEta':
        tell(eta, { type: 'attemptSucceeded', attempt: effect.attempt })
        break
      case 'showEta':
        showEta()
        break
      case 'logStatus': {
        const { do: _, ...fields } = effect
        log.info(fields, 'job status')
        break
      }
      case 'logChange': {
        const { do: _, ...fields } = effect
        log.info(fields, 'job changed')
        break
      }
      default:
        effect satisfies never
    }
  }

  function order(
    effect: Extract<QueueEffect, { do: 'startGeneration' | 'adoptGeneration' }>,
    self: ActorRef<QueueMail>,
  ): void {
    const { jobId, epoch, gpu } = effect
    const type = effect.do === 'startGeneration' ? 'run' : 'adopt'
    withJob(jobId, self, ({ request }) => {
      const told = tellGpu(gpu, { type, order: { jobId, epoch, request } })
      // Adoption is offered again to the next incarnation; a start that reached nobody is taken back.
      if (!told && type === 'run') tell(self, { type: 'runDeclined', jobId, epoch })
    })
  }

  /** A record that cannot be read is a crash: a new incarnation derives everything anew. */
  function withJob(jobId: JobId, self: ActorRef<QueueMail>, then: (job: Job) => void): void {
    void store.find(jobId, 'everything').then(
      (job) => job && then(job),
      (error: unknown) => tell(self, { type: 'readFailed', error }),
    )
  }

  function tellGpu(gpu: GpuId, message: GpuMessage): boolean {
    const actor = gpus.get(gpu)
    return actor !== undefined && tell(actor, message)
  }

  function viewNow(job: Job): JobView {
    return committed ? view(job, committed) : { job }
  }

  function discardWork(jobId: JobId): void {
    workFiles.discard(jobId).catch((error: unknown) => {
      log.warn({ err: error, jobId }, 'work files could not be removed')
    })
  }
}

const questions: Record<QueueQuestion['type'], true> = {
  find: true,
  findMany: true,
  describe: true,
  list: true,
  lookup: true,
  findVideo: true,
  describeGpus: true,
  describeQueue: true,
}
const isQuestion = (message: QueueMessage): message is QueueQuestion => message.type in questions

const commands: Record<QueueCommand['type'], true> = {
  submit: true,
  admit: true,
  cancel: true,
  deleteVideos: true,
  remove: true,
  expire: true,
  pin: true,
  setPin: true,
  forgetTombstones: true,
  drainGpu: true,
  resumeGpu: true,
  disown: true,
  close: true,
}
const isNews = (message: QueueCommand | QueueNews): message is QueueNews =>
  !(message.type in commands)
