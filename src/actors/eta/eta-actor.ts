import type { Checkpoint, ToldEstimate } from '../../domain/estimate.ts'
import type { JobId, Timestamp } from '../../domain/job.ts'
import type { Logger } from '../../domain/log.ts'
import type { Observation, Observe } from '../../domain/observation.ts'
import { type ActorRef, type Behaviour, tell, tellAskerItFailed } from '../actor.ts'
import { get, valuesFrom } from '../ordered-map.ts'
import type { FinishedAttempt, QueueMessage, QueueSnapshot } from '../queue/queue-protocol.ts'
import { intervalVerdict, offByPercent, review } from './calibration.ts'
import { createEstimator } from './estimator.ts'
import type { AttemptHistory, EstimateLog, EstimateOutcome } from './eta-ports.ts'
import type { EtaMessage } from './eta-protocol.ts'
import { attemptsKept, type SpeedModelOptions } from './speed-model.ts'

export type EtaActorOptions = Readonly<{
  history: AttemptHistory & EstimateLog
  queue: ActorRef<QueueMessage>
  speeds: SpeedModelOptions
  observe: Observe
  log: Logger
}>

/** How many of the latest estimates a review is made of: some hundred jobs. */
const reviewed = 1_000

const checkEveryMs = 1_000
const forgetEveryTicks = 60

/** Owns history and estimates. */
export function etaBehaviour({
  history,
  queue,
  speeds,
  observe,
  log,
}: EtaActorOptions): Behaviour<QueueSnapshot | undefined, EtaMessage> {
  const estimator = createEstimator(speeds)
  /** What has been told of jobs that are not over. */
  const told = new Map<JobId, Map<Checkpoint, ToldEstimate>>()
  let unwritten: ToldEstimate[] = []
  /** Jobs up to here were there when we began, or have had their first estimate. */
  let lastSeq: number | undefined
  let timer: NodeJS.Timeout | undefined
  let ticks = 0
  let isForecastDue = false

  return {
    init(self) {
      void Promise.all([history.recent(attemptsKept), history.outcomes(reviewed)]).then(
        ([past, outcomes]) => tell(self, { type: 'historyLoaded', past, outcomes }),
        (error: unknown) => log.error({ err: error }, 'history could not be read'),
      )
      tell(queue, { type: 'etaReady' })
      return undefined
    },

    receive(state, message, self) {
      const now = Date.now()
      switch (message.type) {
        case 'historyLoaded':
          estimator.remember(message.past, message.outcomes)
          tellSpeeds(now)
          goOn(self, now)
          return state
        case 'attemptSucceeded':
          learnFrom(message.attempt, now)
          goOn(self, now)
          return state
        case 'queueChanged':
          estimator.see(message.queue)
          goOn(self, now)
          check(message.queue, now)
          timer ??= setInterval(() => tell(self, { type: 'checkpointsDue' }), checkEveryMs).unref()
          return message.queue
        case 'forecastDue':
          isForecastDue = false
          goOn(self, now)
          return state
        case 'checkpointsDue':
          goOn(self, now)
          if (state) {
            check(state, now)
            forget(state)
          }
          write()
          return state
        case 'estimate': {
          const estimates = message.jobIds.map(
            (jobId) => [jobId, estimator.tell(jobId, now)] as const,
          )
          tell(message.replyTo, new Map(estimates.filter(isTold)))
          return state
        }
        case 'reviewEstimates':
          void history.outcomes(reviewed).then(
            (outcomes) => tell(message.replyTo, review(outcomes)),
            (error: unknown) => tellAskerItFailed(message, 'estimates could not be read', error),
          )
          return state
      }
    },

    terminate() {
      clearInterval(timer)
      write()
    },
  }

  function tellSpeeds(now: Timestamp): void {
    tell(queue, { type: 'speedsLearned', secondsPerJob: estimator.secondsPerJob(now) })
  }

  function goOn(self: ActorRef<EtaMessage>, now: Timestamp): void {
    if (isForecastDue || !estimator.goOn(now)) return
    isForecastDue = true
    tell(self, { type: 'forecastDue' })
  }

  /** Keeps what is told of each job when it is new, and when it gets to a checkpoint. */
  function check({ waiting, running }: QueueSnapshot, now: Timestamp): void {
    const isFirstLook = lastSeq === undefined
    const from = (lastSeq ?? -1) + 1
    for (const { jobId, seq } of valuesFrom(waiting, from)) {
      if (!isFirstLook) keep(jobId, 'submit', now)
      lastSeq = seq
    }
    for (const { jobId, seq, attempts } of running.values()) {
      if (!isFirstLook && seq >= from) keep(jobId, 'submit', now)
      lastSeq = Math.max(seq, lastSeq ?? -1)
      const progress = attempts === 1 ? (estimator.tell(jobId, now)?.progress ?? 0) : 0
      const reached = shares.findLast(([, share]) => progress >= share)?.[0]
      if (reached) keep(jobId, reached, now)
    }
    lastSeq ??= -1
  }

  function keep(jobId: JobId, checkpoint: Checkpoint, at: Timestamp): void {
    const ofJob = told.get(jobId) ?? new Map<Checkpoint, ToldEstimate>()
    if (ofJob.has(checkpoint)) return
    const estimate = estimator.tell(jobId, at)
    if (!estimate) return
    const { etaAt: _, progress: __, ...rest } = estimate
    const kept = { jobId, checkpoint, at, ...rest }
    told.set(jobId, ofJob.set(checkpoint, kept))
    unwritten.push(kept)
  }

  function learnFrom(attempt: FinishedAttempt, now: Timestamp): void {
    const { jobId, gpu, endedAt, attempts } = attempt
    const kind = speeds.kinds.get(gpu)
    const outcomes = [...(told.get(jobId)?.values() ?? [])].map(
      (estimate): EstimateOutcome => ({ ...estimate, gpu, actual: (endedAt - estimate.at) / 1000 }),
    )
    told.delete(jobId)
    // No estimate foresees that an attempt fails.
    const judged = attempts === 1 ? outcomes : []
    estimator.remember([{ ...attempt, ...(kind !== undefined && { gpuModel: kind }) }], judged)
    for (const outcome of judged) observe(judgementOf(outcome))
    tellSpeeds(now)
    const errors = outcomes.map((outcome) => [
      outcome.checkpoint,
      Math.round(offByPercent(outcome)),
    ])
    log.info(
      { jobId, gpu, offByPercent: Object.fromEntries(errors) },
      'estimates held against the outcome',
    )
  }

  /** Jobs that have ended without a video. */
  function forget({ seqOf, running }: QueueSnapshot): void {
    ticks += 1
    if (ticks % forgetEveryTicks !== 0) return
    for (const jobId of told.keys()) {
      if (!running.has(jobId) && get(seqOf, jobId) === undefined) told.delete(jobId)
    }
  }

  /** Once a second at most, for all jobs together; what cannot be written is not worth a job. */
  function write(): void {
    if (unwritten.length === 0) return
    const estimates = unwritten
    unwritten = []
    history.record(estimates).catch((error: unknown) => {
      log.warn({ err: error }, 'estimates could not be kept')
    })
  }
}

const judgementOf = (outcome: EstimateOutcome): Observation => ({
  saw: 'estimateJudged',
  checkpoint: outcome.checkpoint,
  offBy: offByPercent(outcome) / 100,
  interval: intervalVerdict(outcome),
})

const shares: readonly (readonly [Checkpoint, number])[] = [
  ['25', 0.25],
  ['50', 0.5],
  ['75', 0.75],
]

const isTold = <Key, Value>(entry: readonly [Key, Value | undefined]): entry is [Key, Value] =>
  entry[1] !== undefined
