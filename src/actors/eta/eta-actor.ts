import type { JobId, Timestamp } from '../../job.ts'
import type { Logger } from '../../log.ts'
import { type ActorRef, type Behaviour, tell } from '../actor.ts'
import type { AttemptHistory } from '../ports.ts'
import type { QueueMessage } from '../queue/queue-protocol.ts'
import {
  createForecast,
  estimateOf,
  type Forecast,
  historyLength,
  remember,
  secondsPerJob,
} from './estimate.ts'
import type { Estimate, EtaMessage, EtaState } from './eta-protocol.ts'

export type EtaActorOptions = Readonly<{
  history: AttemptHistory
  queue: ActorRef<QueueMessage>
  defaultSeconds: number
  log: Logger
}>

/** Owns history and estimates. */
export function etaBehaviour({
  history,
  queue,
  defaultSeconds,
  log,
}: EtaActorOptions): Behaviour<EtaState, EtaMessage> {
  /** Good until what it rests on changes; polls only read it. */
  let forecast: { of: Forecast; at: Timestamp } | undefined

  return {
    init(self) {
      void history.recent(historyLength).then(
        (past) => tell(self, { type: 'historyLoaded', past }),
        (error: unknown) => log.error({ err: error }, 'history could not be read'),
      )
      tell(queue, { type: 'etaReady' })
      return { past: new Map(), queue: undefined, defaultSeconds }
    },

    receive(state, message) {
      switch (message.type) {
        case 'historyLoaded':
          return learn({ ...state, past: message.past.reduce(remember, state.past) })
        case 'attemptSucceeded': {
          const { type: _, ...attempt } = message
          return learn({ ...state, past: remember(state.past, attempt) })
        }
        case 'queueChanged': {
          const { running, readyGpus, gpuHealth } = message.queue
          // New positions at the end of the queue change nothing for those before them.
          const same =
            state.queue?.running === running &&
            state.queue.readyGpus === readyGpus &&
            state.queue.gpuHealth === gpuHealth
          if (!same) forecast = undefined
          return { ...state, queue: message.queue }
        }
        case 'estimate':
          tell(message.replyTo, estimate(state, message.jobIds, Date.now()))
          return state
      }
    },
  }

  function learn(state: EtaState): EtaState {
    forecast = undefined
    tell(queue, { type: 'speedsLearned', secondsPerJob: secondsPerJob(state.past) })
    return state
  }

  function estimate(
    state: EtaState,
    jobIds: readonly JobId[],
    now: Timestamp,
  ): ReadonlyMap<JobId, Estimate> {
    const estimates = new Map<JobId, Estimate>()
    if (!state.queue) return estimates
    forecast ??= { of: createForecast(state, state.queue, now), at: now }
    for (const jobId of jobIds) {
      const estimate = estimateOf(jobId, state.queue, forecast.of, (now - forecast.at) / 1000)
      if (estimate) estimates.set(jobId, estimate)
    }
    return estimates
  }
}
