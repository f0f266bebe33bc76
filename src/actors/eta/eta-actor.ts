import type { ToldEstimate } from '../../domain/estimate.ts'
import type { Logger } from '../../domain/log.ts'
import type { Observe } from '../../domain/observation.ts'
import { clockShift, steadyNow } from '../../domain/time.ts'
import {
  type ActorRef,
  type AnswerEffect,
  actorOf,
  type Behaviour,
  pipe,
  pipeAnswer,
  tell,
  tellLater,
} from '../actor.ts'
import type { QueueMessage } from '../queue/queue-protocol.ts'
import { review } from './calibration.ts'
import type { AttemptHistory, EstimateLog } from './eta-ports.ts'
import type { EtaMessage } from './eta-protocol.ts'
import { type EtaEffect, type EtaState, initialEta } from './eta-state.ts'
import { transition } from './eta-transition.ts'
import { attemptsKept, type SpeedModelOptions } from './speed-model.ts'

export type EtaActorOptions = Readonly<{
  history: AttemptHistory & EstimateLog
  queue: ActorRef<QueueMessage>
  speeds: SpeedModelOptions
  /** Whether the next generation is forked from a template. */
  startsWarm(): boolean
  observe: Observe
  log: Logger
}>

/** How many of the latest estimates a review is made of: some hundred jobs. */
const reviewed = 1_000

/** Owns history and estimates. */
export function etaBehaviour({
  history,
  queue,
  speeds,
  startsWarm,
  observe,
  log,
}: EtaActorOptions): Behaviour<EtaState, EtaMessage> {
  return actorOf<EtaState, EtaMessage, EtaEffect>({
    initial: initialEta(speeds),
    transition: (state, message) =>
      transition(state, message, {
        now: steadyNow(),
        shiftMs: clockShift(),
        startsWarm: startsWarm(),
        stopwatch: () => performance.now(),
      }),
    perform,
    /** The actor receives no message any more: a failure is logged here. */
    terminate({ unwritten }) {
      if (unwritten.length === 0) return
      history.record(unwritten).catch((error: unknown) => {
        log.warn({ err: error }, 'estimates could not be kept')
      })
    },
  })

  function perform(effect: Exclude<EtaEffect, AnswerEffect>, self: ActorRef<EtaMessage>): void {
    switch (effect.do) {
      case 'announce':
        tell(queue, { type: 'etaReady' })
        return
      case 'readHistory':
        readHistory(self)
        return
      case 'tellSpeeds': {
        const { do: _, ...speeds } = effect
        tell(queue, { type: 'speedsLearned', ...speeds })
        return
      }
      case 'continueForecast':
        tell(self, { type: 'forecastDue' })
        return
      case 'checkLater':
        tellLater(self, effect.delayMs, { type: 'checkpointsDue' })
        return
      case 'record':
        record(effect.estimates, self)
        return
      case 'answerReview':
        pipeAnswer(
          effect.to,
          history.outcomes(reviewed).then(review),
          'estimates could not be read',
        )
        return
      case 'observe':
        observe(effect.observation)
        return
      case 'log':
        log[effect.level](effect.fields, effect.message)
        return
    }
  }

  function readHistory(self: ActorRef<EtaMessage>): void {
    pipe(
      self,
      Promise.all([history.recent(attemptsKept), history.outcomes(reviewed)]),
      ([past, outcomes]) => ({ type: 'historyLoaded', past, outcomes }),
      (error) => ({ type: 'historyFailed', error }),
    )
  }

  function record(estimates: readonly ToldEstimate[], self: ActorRef<EtaMessage>): void {
    pipe(
      self,
      history.record(estimates),
      () => undefined,
      (error) => ({ type: 'recordFailed', error }),
    )
  }
}
