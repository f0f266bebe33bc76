/** Rules for the end of an attempt: learn its times, and compare its estimates with the outcome. */

import type { Timestamp } from '../../domain/job.ts'
import type { Observation } from '../../domain/observation.ts'
import { get, remove } from '../ordered-map.ts'
import type { FinishedAttempt } from '../queue/queue-protocol.ts'
import { intervalVerdict, offByPercent } from './calibration.ts'
import { learnIfDue, loadSeconds, remember, secondsPerJob } from './estimator.ts'
import type { EstimateOutcome } from './eta-ports.ts'
import type { EtaEffect, EtaState, EtaStep } from './eta-state.ts'
import { attemptToSteady } from './steady-line.ts'

export function learnFrom(
  state: EtaState,
  told: FinishedAttempt,
  now: Timestamp,
  shiftMs: number,
): EtaStep {
  const attempt = attemptToSteady(state.line, told, shiftMs)
  if (!attempt) return [{ ...state, told: remove(state.told, told.jobId) }, []]
  const { jobId, gpu, endedAt, attempts } = attempt
  const kind = state.estimator.knowledge.options.kinds.get(gpu)
  const outcomes = (get(state.told, jobId) ?? []).map(
    (estimate): EstimateOutcome => ({ ...estimate, gpu, actual: (endedAt - estimate.at) / 1000 }),
  )
  // No estimate foresees that an attempt fails.
  const judged = attempts === 1 ? outcomes : []
  const past = { ...attempt, ...(kind !== undefined && { gpuModel: kind }) }
  const remembered = {
    ...state,
    told: remove(state.told, jobId),
    estimator: learnIfDue(remember(state.estimator, [past], judged), now),
  }
  const isNew = remembered.estimator.knowledge.model !== state.toldModel
  const [next, effects] = isNew ? tellSpeeds(remembered, now) : [remembered, []]
  return [
    next,
    [
      ...judged.map((outcome) => ({ do: 'observe', observation: judgementOf(outcome) }) as const),
      ...effects,
      logOf(attempt, outcomes),
    ],
  ]
}

/** The queue gives jobs to the fastest GPU. */
export function tellSpeeds(state: EtaState, now: Timestamp): EtaStep {
  const estimator = learnIfDue(state.estimator, now)
  const speeds = {
    secondsPerJob: secondsPerJob(estimator),
    loadSeconds: loadSeconds(estimator),
  }
  const told = { ...state, estimator, toldModel: estimator.knowledge.model }
  return [told, [{ do: 'tellSpeeds', ...speeds }]]
}

const judgementOf = (outcome: EstimateOutcome): Observation => ({
  saw: 'estimateJudged',
  checkpoint: outcome.checkpoint,
  offBy: offByPercent(outcome) / 100,
  interval: intervalVerdict(outcome),
})

function logOf({ jobId, gpu }: FinishedAttempt, outcomes: readonly EstimateOutcome[]): EtaEffect {
  const errors = outcomes.map((outcome) => [outcome.checkpoint, Math.round(offByPercent(outcome))])
  return {
    do: 'log',
    level: 'info',
    fields: { jobId, gpu, offByPercent: Object.fromEntries(errors) },
    message: 'estimates held against the outcome',
  }
}
