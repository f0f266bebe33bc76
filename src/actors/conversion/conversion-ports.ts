import type { AttemptKey, VideoFacts, VideoRequest } from '../../domain/job.ts'
/** ffprobe, ffmpeg and the way into `RESULTS_DIR`, step by step. */
export type VideoTools = {
  /** What the generation left. */
  inspect(conversion: Conversion): Promise<SourceVideo>
  /** Makes the finished file beside its final place; resolves with what ffprobe finds in it. */
  encode(conversion: Conversion, source: VideoFacts, signal: AbortSignal): Promise<VideoFacts>
  /**
   * Gives the finished file its name, at once and for good. Rejects when the job runs in another attempt by now. May wait
   * long, and does nothing any more once `signal` is aborted.
   */
  publish(conversion: Conversion, signal: AbortSignal): Promise<void>
  /** Removes what an attempt has made: unfinished files, and its published one. */
  withdraw(output: ConversionOutput): Promise<void>
}

export type ConversionOutput = AttemptKey & Readonly<{ filename: string }>

export type Conversion = ConversionOutput & Readonly<{ request: VideoRequest }>

export type SourceVideo = Readonly<
  | { how: 'missing' }
  /** All files of the attempt are gone, as after the restore of a backup. */
  | { how: 'lost' }
  /** They are gone, but the finished file of this job has its name. */
  | { how: 'published'; facts: VideoFacts }
  | { how: 'unreadable'; why: string }
  | { how: 'readable'; facts: VideoFacts }
>
