import type { AttemptKey, Failure, VideoFacts } from '../../domain/job.ts'
import type { Conversion, SourceVideo } from './conversion-ports.ts'

export type ConversionCommand = Readonly<
  ({ type: 'convert' } & Conversion) | ({ type: 'abort' } & AttemptKey) | { type: 'announce' }
>

/** How a step went. Each names its attempt, for by then that may be over. */
export type ConversionNews = Readonly<
  | ({ type: 'inspected'; source: SourceVideo } & AttemptKey)
  | ({ type: 'encoded'; video: VideoFacts } & AttemptKey)
  | ({ type: 'published' } & AttemptKey)
  /** `killed`: by a signal of somebody else, so that another try may well go through. */
  | ({ type: 'stepFailed'; why: string; killed: boolean } & AttemptKey)
>

export type ConversionMessage = ConversionCommand | ConversionNews

/** Inspect what the generation left, make the finished file beside its place, give it its name. */
export type ConversionStep = 'waiting' | 'inspecting' | 'encoding' | 'publishing'

export type ActiveConversion = Readonly<{
  conversion: Conversion
  step: ConversionStep
  aborted: boolean
  /** How often a step of it was killed. */
  kills: number
  /** Known once encoded. */
  video?: VideoFacts
}>

export type ConversionState = Readonly<{
  /** In the order in which they came; at most `limit` are beyond waiting. */
  active: readonly ActiveConversion[]
  limit: number
}>

export type ConversionEffect = Readonly<
  | { do: 'inspect'; conversion: Conversion }
  | { do: 'encode'; conversion: Conversion; source: VideoFacts }
  | { do: 'publish'; conversion: Conversion }
  | { do: 'interrupt'; attempt: AttemptKey }
  | { do: 'discard'; attempt: AttemptKey }
  /** It was published just when it was to be aborted. */
  | { do: 'withdraw'; conversion: Conversion }
  | { do: 'report'; report: ConversionReport }
>

/** What the actor tells the queue. */
export type ConversionReport = Readonly<
  | { type: 'conversionReady' }
  | ({ type: 'converted'; video: VideoFacts } & AttemptKey)
  | ({ type: 'conversionFailed'; failure: Failure } & AttemptKey)
  | ({ type: 'conversionAborted' } & AttemptKey)
>
