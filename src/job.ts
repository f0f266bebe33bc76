/** The words of the domain; imports nothing of ours. */
import * as v from 'valibot'

export const JobId = v.pipe(v.string(), v.uuid(), v.toLowerCase(), v.brand('JobId'))
export type JobId = v.InferOutput<typeof JobId>

/** A GPU as the service numbers it: what `gpu_id` shows and `gpu{n}` in file names means. */
export const GpuId = v.pipe(v.number(), v.safeInteger(), v.minValue(0), v.brand('GpuId'))
export type GpuId = v.InferOutput<typeof GpuId>

/** Fencing token of an attempt: every claim raises it, and what carries an older one is dropped. */
export type Epoch = number

/** Milliseconds since 1970, UTC. */
export type Timestamp = number

export const jobStatuses = ['queued', 'running', 'success', 'error', 'canceled'] as const
export type JobStatus = (typeof jobStatuses)[number]

/** Where a running attempt is, in the order in which it gets there. */
export const stages = ['loading', 'encoding', 'denoising', 'decoding', 'saving', 'converting'] as const
export type Stage = (typeof stages)[number]

/** The generation's own stages; `converting` comes after it, off the GPU. */
export type GenerationStage = Exclude<Stage, 'converting'>

/** What a running generation has been heard to do. `step` of `totalSteps` is known while denoising. */
export type Reading = Readonly<{ stage: GenerationStage; step?: number; totalSteps?: number }>

export const videoSizes = ['1280x720', '720x1280'] as const
export type VideoSize = (typeof videoSizes)[number]

/** Everything `generate.py` has to be told, with nothing left to its defaults or to chance. */
export type VideoRequest = Readonly<{
  prompt: string
  size: VideoSize
  frames: number
  steps: number
  /** Absent: the task's own default, which for some tasks is a pair. */
  guidance?: number
  /** At most 2^53 - 1, so that JSON carries it unharmed. */
  seed: number
  /** The name asked for; absent: the service makes one when the job is claimed. */
  filename?: string
}>

/** Why an attempt or a job failed: stable codes of the API, told apart by who can do something about it. */
export const failureCodes = [
  'generation_failed',
  'invalid_arguments',
  'checkpoint_missing',
  'environment_broken',
  'out_of_memory',
  'gpu_error',
  'killed',
  'lost',
  'timeout',
  'no_output',
  'truncated_output',
  'unexpected_output',
  'conversion_failed',
] as const
export type FailureCode = (typeof failureCodes)[number]

export type Failure = Readonly<{
  code: FailureCode
  /** One sentence for a person, ending in the last useful line of the output where there is one. */
  message: string
  exitCode?: number
  signal?: string
}>
