import type { AttemptKey, GenerationStartKind, Reading, Timestamp } from '../../domain/job.ts'
import type { AttemptOrder, GenerationResult, StopReason } from './gpu-ports.ts'

/** When and how a generation started, and the command that runs, as far as it is known. */
export type GenerationStart = Readonly<{
  startedAt: Timestamp
  command?: readonly string[]
  start?: GenerationStartKind
}>

/** Orders, in the imperative: the actor may still decline them. */
export type GpuCommand = Readonly<
  /** Begin this generation. */
  | { type: 'run'; order: AttemptOrder }
  /** Take up this generation, which a former incarnation began. */
  | { type: 'adopt'; order: AttemptOrder }
  | ({ type: 'stopGeneration'; reason: StopReason } & AttemptKey)
  /** Say again who is here and at what work. */
  | { type: 'announce' }
>

/** News of the generation, which outlives this actor; so each names its attempt. */
export type GpuNews = Readonly<
  /** `ageMs`: how long it has run by now. */
  | ({ type: 'generationStarted'; ageMs: number } & GenerationStart & AttemptKey)
  | ({ type: 'generationReported'; reading: Reading } & AttemptKey)
  | ({ type: 'generationEnded'; result: GenerationResult } & AttemptKey)
  | ({ type: 'timeLimitReached' } & AttemptKey)
>

export type GpuMessage = GpuCommand | GpuNews

export type GpuState = Readonly<
  | { phase: 'idle' }
  | { phase: 'busy'; held: Held }
  | { phase: 'stopping'; held: Held; reason: StopReason }
>

/** The generation this GPU is at, and what has been heard of it. */
export type Held = AttemptKey & Partial<GenerationStart> & Readonly<{ reading?: Reading }>

export type GpuEffect = Readonly<
  | { do: 'start' | 'adopt'; order: AttemptOrder }
  | { do: 'stop'; reason: StopReason }
  | { do: 'limitTime'; attempt: AttemptKey; ageMs: number }
  | { do: 'report'; report: GpuReport }
>

/** What the actor tells the queue; the shell adds which GPU and which incarnation it is. */
export type GpuReport = Readonly<
  | { type: 'processesLeft' }
  | { type: 'gpuReady'; holding?: AttemptKey }
  | ({ type: 'runDeclined' } & AttemptKey)
  | ({ type: 'generationStarted' } & GenerationStart & AttemptKey)
  | ({ type: 'generationReported'; reading: Reading } & AttemptKey)
  | ({ type: 'generationEnded'; result: GenerationResult } & AttemptKey)
>
