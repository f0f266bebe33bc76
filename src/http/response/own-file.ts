/** Makes sure that the file of a video is the one that was published for its job. */
import { type ActorRef, tell } from '../../actors/actor.ts'
import type { FileFinding, VideoFiles } from '../../actors/archive/archive-ports.ts'
import type { ArchiveMessage } from '../../actors/archive/archive-protocol.ts'
import { lossOf } from '../../actors/archive/removal-rules.ts'
import { lostVideo, RefusalError } from '../../domain/errors.ts'
import { hasFile, type WithFile } from '../../domain/job.ts'
import { fileOf } from '../../domain/video-file.ts'

export type OwnFileOptions = Readonly<{
  /** Absent: the leader of the cluster compares, when it receives the response. */
  archive?: ActorRef<ArchiveMessage>
  videoFiles: Pick<VideoFiles, 'find'>
}>

/** Has the archive compare a file with the record when they differ. */
export const createReport =
  ({ archive }: Pick<OwnFileOptions, 'archive'>) =>
  (job: WithFile, isOwn: boolean): void => {
    if (archive && isOwn !== hasFile(job)) tell(archive, { type: 'compareFiles', jobIds: [job.id] })
  }

/** Refuses a video whose file was removed or replaced, and reports it. */
export function createRequireOwnFile({ videoFiles, ...reporting }: OwnFileOptions) {
  const report = createReport(reporting)
  return async (job: WithFile): Promise<void> => {
    const finding = await videoFiles.find(fileOf(job)).catch(cannotBeRead)
    report(job, finding === 'own')
    if (finding !== 'own') throw lostVideo(lossOf(finding))
  }
}

function cannotBeRead(error: { code?: unknown }): FileFinding {
  const { code } = error
  const why = typeof code === 'string' ? ` (${code})` : ''
  throw new RefusalError('service_busy', `The file cannot be read${why}; try again later.`, {
    cause: error,
  })
}
