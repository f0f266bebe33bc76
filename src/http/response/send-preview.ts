import type { Context } from 'hono'
import type { WithFile } from '../../domain/job.ts'
import { fileOf, type VideoFile } from '../../domain/video-file.ts'
import type { NodeFiles } from './node-files.ts'
import { createReport, createRequireOwnFile, type OwnFileOptions } from './own-file.ts'
import { type SentFile, sendFile } from './send-file.ts'

export type Previews = {
  /** The name of the file in `previewsDir`; made when it is first asked for. */
  of(video: VideoFile, kind: 'thumbnail' | 'spritesheet'): Promise<string>
}

export type PreviewSenderOptions = OwnFileOptions &
  Readonly<{
    previews: Previews
    previewsDir: string
    /** Absent: all files are on this machine. */
    nodeFiles?: NodeFiles | undefined
  }>

/** How both APIs give out a picture of a video. */
export function createPreviewSender({
  previews,
  previewsDir,
  nodeFiles,
  ...own
}: PreviewSenderOptions) {
  const requireOwnFile = createRequireOwnFile(own)
  const report = createReport(own)
  return async (
    c: Context,
    job: WithFile,
    kind: Parameters<Previews['of']>[1],
    caching: SentFile['caching'],
  ): Promise<Response> => {
    const onFinding = (isOwn: boolean) => report(job, isOwn)
    const fromNode = nodeFiles?.send(c, job, kind, { caching, onFinding })
    if (fromNode) return fromNode
    await requireOwnFile(job)
    const filename = await previews.of(fileOf(job), kind)
    return sendFile(c, { root: previewsDir, filename, caching })
  }
}
