import type { JobId } from '../../domain/job.ts'
import { answer } from '../actor.ts'
import { size } from '../ordered-map.ts'
import { check, forget, write } from './checkpoint-rules.ts'
import {
  type Clock,
  estimateJob,
  estimateNext,
  goOn,
  isPlaying,
  remember,
  see,
} from './estimator.ts'
import type { Estimate, EtaMessage } from './eta-protocol.ts'
import type { EtaEffect, EtaState, EtaStep } from './eta-state.ts'
import { learnFrom, tellSpeeds } from './outcome-rules.ts'
import { toSteady } from './steady-line.ts'

const checkEveryMs = 1_000

/** All rules for estimates. Pure: the caller passes the clocks. */
export function transition(state: EtaState, message: EtaMessage, clock: Clock): EtaStep {
  const { now, shiftMs = 0 } = clock
  switch (message.type) {
    case 'historyLoaded': {
      const { past, outcomes } = message
      const estimator = remember(state.estimator, past, outcomes)
      return thenForecast(tellSpeeds({ ...state, estimator }, now), clock)
    }
    case 'historyFailed':
      return [state, [log('error', message.error, 'history could not be read')]]
    case 'attemptSucceeded':
      return thenForecast(learnFrom(state, message.attempt, now, shiftMs), clock)
    case 'queueChanged': {
      const [line, queue] = toSteady(state.line, message.queue, shiftMs)
      const seen = { ...state, line, estimator: see(state.estimator, queue), isTicking: true }
      const { queue: before } = state.estimator
      // The GPUs of a node that joins for the first time were in no earlier message.
      const hasOthers = before !== undefined && before.gpus !== queue.gpus
      const [next, effects] = thenForecast(hasOthers ? tellSpeeds(seen, now) : [seen, []], clock)
      const changed = queue.running.changedSince(before?.running)
      return [check(next, now, changed), state.isTicking ? effects : [...effects, checkLater]]
    }
    case 'forecastDue':
      return thenForecast([{ ...state, isForecastDue: false }, []], clock)
    case 'checkpointsDue': {
      const [next, effects] = thenForecast([state, []], clock)
      const [written, writing] = write(forget(check(next, now)), shiftMs)
      // The timer stops with the work, because an idle service should not wake up every second.
      const isTicking = hasWork(written)
      return [
        { ...written, isTicking },
        [...effects, ...writing, ...(isTicking ? [checkLater] : [])],
      ]
    }
    case 'recordFailed':
      return [state, [log('warn', message.error, 'estimates could not be kept')]]
    case 'estimate': {
      const [next, estimates] = estimateEach(state, message.jobIds, clock)
      return [next, [answer(message.replyTo, estimates)]]
    }
    case 'estimateNext': {
      const [estimator, nextJob] = estimateNext(state.estimator, now)
      return [{ ...state, estimator }, [answer(message.replyTo, nextJob)]]
    }
    case 'reviewEstimates':
      return [state, [{ do: 'answerReview', to: message.replyTo }]]
  }
}

const hasWork = ({ estimator: { queue }, told }: EtaState): boolean =>
  size(queue?.running) > 0 || size(queue?.waiting) > 0 || size(told) > 0

const checkLater: EtaEffect = { do: 'checkLater', delayMs: checkEveryMs }

/** Plays a turn of the forecast, unless a message for the next turn is in the mailbox. */
function thenForecast([state, effects]: EtaStep, clock: Clock): EtaStep {
  if (state.isForecastDue) return [state, effects]
  const estimator = goOn(state.estimator, clock)
  const isForecastDue = isPlaying(estimator)
  const next = { ...state, estimator, isForecastDue }
  return [next, isForecastDue ? [...effects, { do: 'continueForecast' }] : effects]
}

function estimateEach(
  state: EtaState,
  jobIds: readonly JobId[],
  { now, shiftMs = 0 }: Clock,
): readonly [EtaState, ReadonlyMap<JobId, Estimate>] {
  const estimates = new Map<JobId, Estimate>()
  let { estimator } = state
  for (const jobId of jobIds) {
    const [next, estimate] = estimateJob(estimator, jobId, now)
    estimator = next
    if (estimate) estimates.set(jobId, { ...estimate, etaAt: estimate.etaAt + shiftMs })
  }
  return [{ ...state, estimator }, estimates]
}

const log = (level: 'warn' | 'error', error: unknown, message: string): EtaEffect => ({
  do: 'log',
  level,
  fields: { err: error },
  message,
})
