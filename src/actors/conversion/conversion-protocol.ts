import type { AttemptKey, Failure, FailureCode, VideoFacts } from '../../domain/job.ts'
import type { Conversion, ConversionOutput, SourceVideo } from './conversion-ports.ts'

export type ConversionCommand = Readonly<
  ({ type: 'convert' } & Conversion) | ({ type: 'abort' } & ConversionOutput) | { type: 'announce' }
>

/** How a step went. Each names its attempt, for by then that may be over. */
export type ConversionNews = Readonly<
  | ({ type: 'inspected'; source: SourceVideo } & AttemptKey)
  | ({ type: 'encoded'; video: VideoFacts } & AttemptKey)
  | ({ type: 'published' } & AttemptKey)
  /** Nothing of it is left, or it could not be removed. */
  | ({ type: 'withdrawn' } & AttemptKey)
  | ({ type: 'stepFailed' } & StepFailure & AttemptKey)
  /** The pause of a conversion that failed by the environment has ended. */
  | ({ type: 'retryDue' } & AttemptKey)
>

/**
 * `killed`: by a signal of somebody else, so that another try may well go through. `fault`: the
 * environment is at fault, and another try succeeds when that has passed.
 */
export type StepFailure = Readonly<{ why: string; killed: boolean; fault?: FailureCode }>

export type ConversionMessage = ConversionCommand | ConversionNews

/** `pausing`: until another try. Inspect what the generation left, make the finished file beside its place, give it its name. */
export type ConversionStep = 'waiting' | 'pausing' | 'inspecting' | 'encoding' | 'publishing'

export type ActiveConversion = Readonly<{
  conversion: Conversion
  step: ConversionStep
  aborted: boolean
  /** How often a step of it was killed. */
  kills: number
  /** How often in a row the environment failed a step of it. */
  faults: number
  /** Known once encoded. */
  video?: VideoFacts
}>

export type ConversionState = Readonly<{
  /** In the order in which they came; at most `limit` are neither waiting nor pausing. */
  active: readonly ActiveConversion[]
  /** Conversions that have ended without a video, and whose files are being removed. */
  ending: readonly EndingConversion[]
  /** How the latest conversions ended, the oldest first. */
  ended: readonly ConversionEnd[]
  limit: number
}>

/** `report`: how it has ended. The queue is told when its files are removed. */
export type EndingConversion = Readonly<{ output: ConversionOutput; report: ConversionEnd }>

export type ConversionEffect = Readonly<
  | { do: 'inspect'; conversion: Conversion }
  | { do: 'encode'; conversion: Conversion; source: VideoFacts }
  | { do: 'publish'; conversion: Conversion }
  | { do: 'retryLater'; attempt: AttemptKey; afterMs: number }
  | { do: 'logFault'; attempt: AttemptKey; why: string; afterMs: number }
  | { do: 'interrupt'; attempt: AttemptKey }
  | { do: 'withdraw'; output: ConversionOutput }
  | { do: 'report'; report: ConversionReport }
>

/** What the actor tells the queue. */
export type ConversionReport = Readonly<{ type: 'conversionReady' }> | ConversionEnd

export type ConversionEnd = Readonly<
  | ({ type: 'converted'; video: VideoFacts } & AttemptKey)
  | ({ type: 'conversionFailed'; failure: Failure } & AttemptKey)
  /** The files of the generation are gone, so there is nothing to convert. */
  | ({ type: 'conversionLost' } & AttemptKey)
  | ({ type: 'conversionAborted' } & AttemptKey)
>
