import type { AttemptKey, VideoFacts, VideoRequest } from '../../domain/job.ts'
/** ffprobe, ffmpeg and the way into `RESULTS_DIR`, step by step. */
export type VideoTools = {
  /** What the generation left; `undefined`: no file, or none that ffprobe can read. */
  inspect(attempt: AttemptKey): Promise<SourceVideo>
  /** Makes the finished file beside its final place; resolves with what ffprobe finds in it. */
  encode(conversion: Conversion, source: VideoFacts, signal: AbortSignal): Promise<VideoFacts>
  /** Gives the finished file its name, at once and for good. */
  publish(conversion: Conversion): Promise<void>
  /** Takes a published file back: its job was canceled meanwhile. */
  withdraw(conversion: Conversion): Promise<void>
  /** Removes an unfinished file. */
  discard(attempt: AttemptKey): Promise<void>
}

export type Conversion = AttemptKey & Readonly<{ request: VideoRequest; filename: string }>

export type SourceVideo = Readonly<
  { how: 'missing' } | { how: 'unreadable'; why: string } | { how: 'readable'; facts: VideoFacts }
>
