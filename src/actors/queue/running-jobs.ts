/** The running jobs of the queue: by id, by GPU, and counted by what they hold. */
import type {
  Epoch,
  GenerationStartKind,
  GpuId,
  JobId,
  Reading,
  RunningPhase,
  Shape,
  Timestamp,
  Trace,
} from '../../domain/job.ts'
import {
  changedValues,
  get,
  keys,
  type OrderedMap,
  remove,
  set,
  size,
  values,
} from '../ordered-map.ts'

export type RunningJob = Readonly<{
  jobId: JobId
  owner: string | null
  seq: number
  submittedAt: Timestamp
  epoch: Epoch
  attempts: number
  shape: Shape
  gpu: GpuId
  filename: string
  /** Only when a name was asked for: it is kept over a retry. */
  requestedFilename?: string
  phase: RunningPhase
  claimedAt: Timestamp
  startedAt?: Timestamp
  /** How its generation was started. Unknown until it is observed. */
  start?: GenerationStartKind
  generatedAt?: Timestamp
  cancelRequested: boolean
  /** It was running already when the queue was loaded. */
  isRestored?: true
  /** It is to be stopped rather than finished: then queued again, failed, or given back uncounted. */
  orphaned?: 'requeue' | 'fail' | 'giveBack'
  reading?: Reading
  /** Its GPU has no actor, and the caretaker watches it. */
  isInCare?: true
  /** It has loaded for longer than a load may hold up others. */
  isLoadOverdue?: true
  /** Of its generation, once that is over. */
  trace?: Trace
}>

/** Until its first reading too: the text encoder is built in silence, and that is when memory runs short. */
export const isLoading = ({ phase, reading }: RunningJob): boolean =>
  phase === 'generating' && (reading === undefined || reading.stage === 'loading')

type Parts = Readonly<{
  bySeq: OrderedMap<number, RunningJob>
  seqOf: OrderedMap<JobId, number>
  /** Generations by their GPU. */
  onGpu: OrderedMap<GpuId, number>
  /** GPUs of the service without a generation. */
  idle: OrderedMap<GpuId, true>
  /** GPUs whose generation holds up other loads. */
  loads: OrderedMap<number, GpuId>
  /** GPUs whose generation has ended and is converted. */
  conversions: OrderedMap<number, GpuId>
  gpus: ReadonlySet<GpuId>
}>

/**
 * Immutable: each change returns another, which shares most of it, at O(log n). No reading and no
 * claim costs more because other GPUs are at work. Iterates in the order of submission.
 */
export class RunningJobs implements ReadonlyMap<JobId, RunningJob> {
  readonly #parts: Parts

  private constructor(parts: Parts) {
    this.#parts = parts
  }

  /** `gpus`: those that get jobs. */
  static of(jobs: Iterable<RunningJob>, gpus: Iterable<GpuId> = []): RunningJobs {
    let running = new RunningJobs({
      ...{ bySeq: undefined, seqOf: undefined, onGpu: undefined, idle: undefined },
      ...{ loads: undefined, conversions: undefined, gpus: new Set() },
    }).withGpus(gpus)
    for (const job of jobs) running = running.set(job)
    return running
  }

  withGpus(gpus: Iterable<GpuId>): RunningJobs {
    const all = new Set(gpus)
    let idle: Parts['idle']
    for (const gpu of all) if (!this.on(gpu)) idle = set(idle, gpu, true)
    return new RunningJobs({ ...this.#parts, idle, gpus: all })
  }

  set(job: RunningJob): RunningJobs {
    const { bySeq, seqOf } = this.#parts
    const before = this.get(job.jobId)
    const parts = before && hasSameUse(before, job) ? this.#parts : this.#using(before, job)
    return new RunningJobs({
      ...parts,
      bySeq: set(bySeq, job.seq, job),
      seqOf: before ? seqOf : set(seqOf, job.jobId, job.seq),
    })
  }

  delete(jobId: JobId): RunningJobs {
    const before = this.get(jobId)
    if (!before) return this
    const { bySeq, seqOf } = this.#parts
    return new RunningJobs({
      ...this.#using(before, undefined),
      bySeq: remove(bySeq, before.seq),
      seqOf: remove(seqOf, jobId),
    })
  }

  #using(before: RunningJob | undefined, after: RunningJob | undefined): Parts {
    let { onGpu, idle, loads, conversions } = this.#parts
    const { gpus } = this.#parts
    if (before?.phase === 'generating' && get(onGpu, before.gpu) === before.seq) {
      onGpu = remove(onGpu, before.gpu)
      if (gpus.has(before.gpu)) idle = set(idle, before.gpu, true)
    }
    if (before) loads = remove(loads, before.seq)
    if (before?.phase === 'converting') conversions = remove(conversions, before.seq)
    if (after?.phase === 'converting') conversions = set(conversions, after.seq, after.gpu)
    if (after?.phase === 'generating') {
      onGpu = set(onGpu, after.gpu, after.seq)
      idle = remove(idle, after.gpu)
    }
    if (after && holdsUpLoads(after)) loads = set(loads, after.seq, after.gpu)
    return { ...this.#parts, onGpu, idle, loads, conversions }
  }

  get(jobId: JobId): RunningJob | undefined {
    const seq = get(this.#parts.seqOf, jobId)
    return seq === undefined ? undefined : get(this.#parts.bySeq, seq)
  }

  has(jobId: JobId): boolean {
    return get(this.#parts.seqOf, jobId) !== undefined
  }

  /** The job that generates on this GPU. */
  on(gpu: GpuId): RunningJob | undefined {
    const seq = get(this.#parts.onGpu, gpu)
    return seq === undefined ? undefined : get(this.#parts.bySeq, seq)
  }

  /** GPUs that get jobs and have none, in ascending order. */
  idleGpus(): Iterable<GpuId> {
    return keys(this.#parts.idle)
  }

  /** GPUs of the loads that hold up others. */
  loads(): Iterable<GpuId> {
    return values(this.#parts.loads)
  }

  /** GPUs that made what is converted now. */
  conversions(): Iterable<GpuId> {
    return values(this.#parts.conversions)
  }

  get size(): number {
    return size(this.#parts.bySeq)
  }

  /** Jobs that are not the same in `before`. The cost follows the number of changes. */
  changedSince(before: RunningJobs | undefined): readonly RunningJob[] {
    return changedValues(before ? before.#parts.bySeq : undefined, this.#parts.bySeq)
  }

  /** Jobs of `before` that do not run any more. */
  goneSince(before: RunningJobs | undefined): readonly RunningJob[] {
    if (!before || this.#parts.seqOf === before.#parts.seqOf) return []
    const changed = changedValues(this.#parts.bySeq, before.#parts.bySeq)
    return changed.filter(({ jobId }) => !this.has(jobId))
  }

  values(): MapIterator<RunningJob> {
    return values(this.#parts.bySeq)
  }

  *keys(): Generator<JobId> {
    for (const { jobId } of this.values()) yield jobId
  }

  *entries(): Generator<[JobId, RunningJob]> {
    for (const job of this.values()) yield [job.jobId, job]
  }

  [Symbol.iterator](): MapIterator<[JobId, RunningJob]> {
    return this.entries()
  }

  forEach(act: (job: RunningJob, jobId: JobId, all: ReadonlyMap<JobId, RunningJob>) => void): void {
    for (const job of this.values()) act(job, job.jobId, this)
  }
}

const hasSameUse = (a: RunningJob, b: RunningJob): boolean =>
  a.phase === b.phase && a.gpu === b.gpu && holdsUpLoads(a) === holdsUpLoads(b)

const holdsUpLoads = (job: RunningJob): boolean => isLoading(job) && !job.isLoadOverdue
