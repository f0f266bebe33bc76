import type { Context } from 'hono'
import type { WithFile } from '../../domain/job.ts'
import { createRequireOwnFile, type OwnFileOptions } from './own-file.ts'
import { type Downloads, type SentFile, sendFile } from './send-file.ts'

export type VideoSenderOptions = OwnFileOptions &
  Readonly<{
    resultsDir: string
    /** Told of each download, so that its file does not expire meanwhile. */
    downloads: Downloads
  }>

/** How both APIs give out a video. */
export function createVideoSender({ resultsDir, downloads, ...own }: VideoSenderOptions) {
  const requireOwnFile = createRequireOwnFile(own)
  return (
    c: Context,
    job: WithFile,
    options: Pick<SentFile, 'caching' | 'asked'>,
  ): Promise<Response> =>
    sendFile(c, {
      root: resultsDir,
      filename: job.state.filename,
      downloads,
      check: () => requireOwnFile(job),
      ...options,
    })
}
