import type { Context } from 'hono'
import type { WithFile } from '../../domain/job.ts'
import type { NodeFiles } from './node-files.ts'
import { createReport, createRequireOwnFile, type OwnFileOptions } from './own-file.ts'
import { type Downloads, type SentFile, sendFile } from './send-file.ts'

export type VideoSenderOptions = OwnFileOptions &
  Readonly<{
    resultsDir: string
    /** Told of each download, so that its file does not expire meanwhile. */
    downloads: Downloads
    /** Absent: all files are on this machine. */
    nodeFiles?: NodeFiles | undefined
  }>

/** How both APIs give out a video. */
export function createVideoSender({
  resultsDir,
  downloads,
  nodeFiles,
  ...own
}: VideoSenderOptions) {
  const requireOwnFile = createRequireOwnFile(own)
  const report = createReport(own)
  return (
    c: Context,
    job: WithFile,
    options: Pick<SentFile, 'caching' | 'asked'>,
  ): Promise<Response> =>
    nodeFiles?.send(c, job, 'video', {
      ...options,
      downloads,
      onFinding: (isOwn) => report(job, isOwn),
    }) ??
    sendFile(c, {
      root: resultsDir,
      filename: job.state.filename,
      downloads,
      check: () => requireOwnFile(job),
      ...options,
    })
}
