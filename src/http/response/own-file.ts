/** Makes sure that the file of a video is the one that was published for its job. */
import { type ActorRef, tell } from '../../actors/actor.ts'
import type { FileFinding, VideoFiles } from '../../actors/archive/archive-ports.ts'
import type { ArchiveMessage } from '../../actors/archive/archive-protocol.ts'
import { lossOf } from '../../actors/archive/removal-rules.ts'
import { lostVideo, RefusalError } from '../../domain/errors.ts'
import { hasFile, type WithFile } from '../../domain/job.ts'
import { fileOf } from '../../domain/video-file.ts'

export type OwnFileOptions = Readonly<{
  archive: ActorRef<ArchiveMessage>
  videoFiles: Pick<VideoFiles, 'find'>
}>

/** Refuses a video whose file was removed or replaced. The archive then compares it with the record. */
export const createRequireOwnFile =
  ({ archive, videoFiles }: OwnFileOptions) =>
  async (job: WithFile): Promise<void> => {
    const finding = await videoFiles.find(fileOf(job)).catch(cannotBeRead)
    const isOwn = finding === 'own'
    if (isOwn !== hasFile(job)) tell(archive, { type: 'compareFiles', jobIds: [job.id] })
    if (finding !== 'own') throw lostVideo(lossOf(finding))
  }

function cannotBeRead(error: { code?: unknown }): FileFinding {
  const { code } = error
  const why = typeof code === 'string' ? ` (${code})` : ''
  throw new RefusalError('service_busy', `The file cannot be read${why}; try again later.`, {
    cause: error,
  })
}
