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
export const stages = [
  'loading',
  'encoding',
  'denoising',
  'decoding',
  'saving',
  'converting',
] as const
export type Stage = (typeof stages)[number]

/** The generation's own stages; `converting` comes after it, off the GPU. */
export type GenerationStage = Exclude<Stage, 'converting'>

/** When each stage began, as far as that was seen; `loading` with the process. `imported`: Wan2.2 was. */
export type StageBegins = Partial<Readonly<Record<GenerationStage | 'imported', Timestamp>>>

/** `warm`: forked from a template that had loaded. */
export const generationStartKinds = ['cold', 'warm'] as const
export type GenerationStartKind = (typeof generationStartKinds)[number]

/** What a running generation has been heard to do, as far as it is known. */
export type Reading = Readonly<{
  stage: GenerationStage
  /** Of `totalSteps`, while denoising. */
  step?: number
  totalSteps?: number
  /** Who said so: our launcher inside the process, or what the process writes. */
  source?: 'events' | 'log'
  began?: StageBegins
  /** When the latest step was done, and how long a step takes lately. */
  steppedAt?: Timestamp
  secondsPerStep?: number
  /** The most GPU memory that was in use at once. */
  peakVramBytes?: number
}>

/** 704 is what some models make of 720: such a size is delivered as it is generated. */
export const videoSizes = ['1280x720', '720x1280', '1280x704', '704x1280'] as const
export type VideoSize = (typeof videoSizes)[number]

export const imageTypes = ['png', 'jpeg', 'webp'] as const
export type ImageType = (typeof imageTypes)[number]

/** The picture that a video begins with; its file is with the work files of the job. */
export type InputImage = Readonly<{
  type: ImageType
  width: number
  height: number
  bytes: number
  sha256: string
}>

/** One that has come in and belongs to no job yet. */
export type UploadedImage = InputImage & Readonly<{ uploadId: string }>

export type AttemptKey = Readonly<{ jobId: JobId; epoch: Epoch }>

/** Everything `generate.py` has to be told, with nothing left to its defaults or to chance. */
export type VideoRequest = Readonly<{
  prompt: string
  /** Absent: that of the model's configuration. */
  negativePrompt?: string
  size: VideoSize
  frames: number
  steps: number
  /** Absent: the task's own default, which for some tasks is a pair. */
  guidance?: number
  /** How far sampling leans towards the noisy steps; absent: the task's own default. */
  shift?: number
  /** At most 2^53 - 1, so that JSON carries it unharmed. */
  seed: number
  /** The video gets its aspect from it, and from `size` only the area. */
  image?: InputImage
  /** The job whose video this one varies. */
  remixOf?: JobId
  /** The name asked for; absent: the service makes one when the job is claimed. */
  filename?: string
  /** The client's own notes on it, which mean nothing to us. */
  metadata?: Readonly<Record<string, string>>
}>

/** What decides how long a video takes. */
export type Shape = Pick<VideoRequest, 'size' | 'frames' | 'steps'>

export const shapeOf = ({ size, frames, steps }: Shape): Shape => ({ size, frames, steps })

/** A request before the service has filled in what nobody chose. */
export type VideoDraft = Omit<VideoRequest, 'seed' | 'image'> &
  Readonly<{
    seed?: number
    image?: UploadedImage
    /** Who is to be told of its end, and in whose words; without a secret, one is made. */
    webhook?: Readonly<{ url: string; secret?: string; words: 'own' | 'openai' }>
  }>

/** What ffprobe found in a file. */
export type VideoFacts = Readonly<{
  width: number
  height: number
  frames: number
  durationSeconds: number
  bytes: number
  /** Made from the content of the published file. Absent in records of earlier versions. */
  signature?: string
}>

/** Why a video has no file although nobody deleted it through the service. */
export const fileLosses = ['missing', 'replaced'] as const
export type FileLoss = (typeof fileLosses)[number]

/** How much of a finished job is being deleted: its file, all of it, or all but its tombstone. */
export type Removal = 'video' | 'remove' | 'expire'

/** Why an attempt or a job failed: stable codes of the API, told apart by who can do something about it. */
export const failureCodes = [
  'generation_failed',
  'invalid_arguments',
  'checkpoint_missing',
  'environment_broken',
  'resources_exhausted',
  'out_of_memory',
  'gpu_error',
  'killed',
  'lost',
  'node_lost',
  'unkillable',
  'timeout',
  'no_output',
  'truncated_output',
  'unexpected_output',
  'conversion_failed',
  'disk_full',
] as const
export type FailureCode = (typeof failureCodes)[number]

export type Failure = Readonly<{
  code: FailureCode
  /** One sentence for a person, ending in the last useful line of the output where there is one. */
  message: string
  exitCode?: number
  signal?: string
}>

/** A running job generates on its GPU, then converts off it. */
export type RunningPhase = 'generating' | 'converting'

/** What is remembered of a GPU beyond the job it is at. */
export type GpuHealth = Readonly<{
  /** By an operator: it ends what it runs and takes nothing new. */
  drained: boolean
  /** Of different jobs, one after the other, the latest last; a generation that succeeds ends the row. */
  failures: readonly Readonly<{ jobId: JobId; code: FailureCode; at: Timestamp }>[]
  quarantine?: Quarantine
}>

/** Too many failures, or a process that survived SIGKILL: no job until it has proven itself. */
export type Quarantine = Readonly<{
  reason: 'failures' | 'unkillable'
  since: Timestamp
  /** When it gets one job to prove itself; absent: only when an operator says so. */
  until?: Timestamp
  /** How often in a row; each doubles the time. */
  strikes: number
  /** Its time is over, and the next job is its probe. */
  probing: boolean
}>

/** How far a job has come. Each state holds exactly what is known by then. */
export type JobState = Readonly<
  | { status: 'queued' }
  | {
      status: 'running'
      phase: RunningPhase
      gpu: GpuId
      filename: string
      claimedAt: Timestamp
      startedAt?: Timestamp
      /** When the generation ended and the GPU was free. */
      generatedAt?: Timestamp
      cancelRequested: boolean
    }
  | {
      status: 'success'
      gpu: GpuId
      filename: string
      startedAt: Timestamp
      endedAt: Timestamp
      video: VideoFacts
      /** When the file was deleted on request or found to be lost. The record stays. */
      fileDeletedAt?: Timestamp
      fileLost?: FileLoss
      /** Its file is about to be deleted, or is deleted already. */
      removing?: Removal
    }
  | { status: 'error'; failure: Failure; gpu?: GpuId; startedAt?: Timestamp; endedAt: Timestamp }
  | {
      status: 'canceled'
      gpu?: GpuId
      startedAt?: Timestamp
      endedAt: Timestamp
      /** Of a running job: how long its end took is told by the two. */
      cancelRequestedAt?: Timestamp
    }
>

export type Job = Readonly<{
  id: JobId
  /** Order of submission, and so of the queue. */
  seq: number
  request: VideoRequest
  /** The name of the client whose it is; null: nobody was asked for a token. */
  owner: string | null
  submittedAt: Timestamp
  epoch: Epoch
  /** Attempts that count, the present one included. */
  attempts: number
  /** Since when it is kept, however old it gets. */
  pinnedAt?: Timestamp
  state: JobState
}>

/** A job whose time was over: its record and files are gone, and this is all that is told of it. */
export type Expired = Readonly<{ jobId: JobId; expiredAt: Timestamp }>

export const isExpired = (thing: unknown): thing is Expired =>
  typeof thing === 'object' && thing !== null && 'expiredAt' in thing

/** Whether it runs, in this very attempt. */
export const runsIn = (job: Job | undefined, { epoch }: Pick<AttemptKey, 'epoch'>): boolean =>
  job?.state.status === 'running' && job.epoch === epoch

/** Something may still become of it. */
export const isOpen = ({ state: { status } }: Job): boolean =>
  status === 'queued' || status === 'running'

/** A successful job. */
export type WithFile = Job & { state: Extract<Job['state'], { status: 'success' }> }

/** The video of a successful job is there, as far as the record knows. */
export const hasFile = (job: Job): job is WithFile =>
  job.state.status === 'success' &&
  job.state.fileDeletedAt === undefined &&
  job.state.removing === undefined

/** One try at a job on one GPU, as it is kept. */
export type Attempt = Readonly<{
  epoch: Epoch
  number: number
  gpu: GpuId
  claimedAt: Timestamp
  startedAt?: Timestamp
  /** When the generation ended and the GPU was free. */
  generatedAt?: Timestamp
  endedAt?: Timestamp
  outcome?: 'success' | 'error' | 'canceled' | 'released'
  failure?: Failure
  trace?: Trace
  /** Command that ran, one item per argument. Absent until the attempt starts, and in old attempts. */
  command?: readonly string[]
  /** Absent until the attempt starts, or unknown. */
  start?: GenerationStartKind
}>

/** Where the time of a generation went, and how that is known. */
export type Trace = Pick<Reading, 'source' | 'began' | 'secondsPerStep' | 'peakVramBytes'>
