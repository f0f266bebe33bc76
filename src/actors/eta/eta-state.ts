import type { ToldEstimate } from '../../domain/estimate.ts'
import type { GpuId, JobId } from '../../domain/job.ts'
import type { Observation } from '../../domain/observation.ts'
import type { ActorRef, AnswerEffect, Step } from '../actor.ts'
import type { OrderedMap } from '../ordered-map.ts'
import { createEstimator, type Estimator } from './estimator.ts'
import type { EstimateReview } from './eta-protocol.ts'
import type { SpeedModel, SpeedModelOptions } from './speed-model.ts'
import { newLine, type SteadyLine } from './steady-line.ts'

export type EtaState = Readonly<{
  estimator: Estimator
  line: SteadyLine
  /**
   * Estimates kept of each job that has not ended, to be compared with the outcome. A tree, because
   * a new job must not copy 100,000 entries.
   */
  told: OrderedMap<JobId, readonly ToldEstimate[]>
  unwritten: readonly ToldEstimate[]
  /** The model whose speeds the queue knows. */
  toldModel: SpeedModel | undefined
  /** Latest job that has been checked: jobs up to it need no `submit` estimate any more. */
  lastSeq: number | undefined
  /** Job at which the search for ended jobs continues; undefined: at the first. */
  forgetFrom: JobId | undefined
  /** A timer for `checkpointsDue` runs. */
  isTicking: boolean
  /** A `forecastDue` is in the mailbox. */
  isForecastDue: boolean
}>

export type EtaEffect =
  | AnswerEffect
  | Readonly<
      | { do: 'announce' }
      | { do: 'readHistory' }
      | {
          do: 'tellSpeeds'
          secondsPerJob: ReadonlyMap<GpuId, number>
          loadSeconds: ReadonlyMap<GpuId, number>
        }
      | { do: 'continueForecast' }
      | { do: 'checkLater'; delayMs: number }
      | { do: 'record'; estimates: readonly ToldEstimate[] }
      | { do: 'answerReview'; to: ActorRef<EstimateReview> }
      | { do: 'observe'; observation: Observation }
      | { do: 'log'; level: 'info' | 'warn' | 'error'; fields: object; message: string }
    >

export type EtaStep = Step<EtaState, EtaEffect>

export const initialEta = (speeds: SpeedModelOptions): EtaStep => [
  {
    estimator: createEstimator(speeds),
    line: newLine,
    told: undefined,
    unwritten: [],
    toldModel: undefined,
    lastSeq: undefined,
    forgetFrom: undefined,
    isTicking: false,
    isForecastDue: false,
  },
  [{ do: 'readHistory' }, { do: 'announce' }],
]
