import type { Context } from 'hono'
import type { JobId, VideoFacts, WithFile } from '../../domain/job.ts'
import { type SentFile, sendFile } from './send-file.ts'

export type Previews = {
  /** The name of the file in `previewsDir`; made when it is first asked for. */
  of(
    video: Readonly<{ jobId: JobId; filename: string; facts: VideoFacts }>,
    kind: 'thumbnail' | 'spritesheet',
  ): Promise<string>
}

export type PreviewSenderOptions = Readonly<{ previews: Previews; previewsDir: string }>

/** How both APIs give out a picture of a video. */
export const createPreviewSender =
  ({ previews, previewsDir: root }: PreviewSenderOptions) =>
  async (
    c: Context,
    { id: jobId, state }: WithFile,
    kind: Parameters<Previews['of']>[1],
    caching: SentFile['caching'],
  ): Promise<Response> => {
    const video = { jobId, filename: state.filename, facts: state.video }
    return sendFile(c, { root, filename: await previews.of(video, kind), caching })
  }
