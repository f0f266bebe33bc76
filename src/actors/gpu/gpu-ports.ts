import type {
  Epoch,
  Failure,
  GenerationStartKind,
  JobId,
  Reading,
  Timestamp,
  VideoRequest,
} from '../../domain/job.ts'

/** One try at a job on one GPU: which, and what `generate.py` is to be told. */
export type AttemptOrder = Readonly<{ jobId: JobId; epoch: Epoch; request: VideoRequest }>

/** Runs generations, in a shim and a process each. */
export type GenerationRunner = {
  /** Begins a generation that outlives us. */
  start(order: AttemptOrder, observer: GenerationObserver): GenerationHandle
  /** Takes up one that a former owner began, or finds out what became of it. */
  adopt(order: AttemptOrder, observer: GenerationObserver): GenerationHandle
}

/** Told in this order: started, any number of readings, ended; or only ended. */
export type GenerationObserver = {
  /**
   * `ageMs`: how long it has run, by a clock that nobody sets. `command`: what runs, one item per
   * argument; absent when the files of the attempt are gone, as is `start`.
   */
  started(
    at: Timestamp,
    ageMs: number,
    command?: readonly string[],
    start?: GenerationStartKind,
  ): void
  reported(reading: Reading): void
  ended(result: GenerationResult): void
}

export type GenerationHandle = {
  /** Asks it to stop, forces it after `graceMs`; its end is told to the observer. */
  stop(reason: StopReason, graceMs: number): void
  /** Stops observing; the generation goes on. */
  detach(): void
}

export type StopReason = 'canceled' | 'timeout' | 'orphaned'

export type GenerationResult = Readonly<
  | { how: 'completed' }
  | { how: 'failed'; failure: Failure }
  /** It had not begun, and now never will. */
  | { how: 'neverBegan' }
  /** It failed because it was forked from a template. The next attempt at it is started cold. */
  | { how: 'forkFailed' }
  /** It began, and its end was seen by nobody. */
  | { how: 'lost' }
  /** A process of it has survived SIGKILL and may still hold the GPU. */
  | { how: 'unkillable' }
>
