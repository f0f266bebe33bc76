/** A look at all files that records name, in the background and a page at a time. */
import type { JobId } from '../../domain/job.ts'
import type { ArchiveStore, RecordedFile, VideoFiles } from './archive-ports.ts'

/** A page takes a few milliseconds, and all of 100,000 files some seconds. */
const maxFilesPerPage = 200

export type Surveyed = Readonly<{
  /** Files that are not as their records say. They are compared again in a turn of their own. */
  suspects: readonly JobId[]
  /** Where the next page begins. */
  next?: number
}>

export async function surveyPage(
  {
    store,
    videoFiles,
  }: Readonly<{
    store: Pick<ArchiveStore, 'recordedFiles'>
    videoFiles: Pick<VideoFiles, 'arePresent'>
  }>,
  afterSeq: number,
): Promise<Surveyed> {
  const files = await store.recordedFiles(afterSeq, maxFilesPerPage)
  const present = await videoFiles.arePresent(files)
  const isSuspect = ({ isLost }: RecordedFile, index: number) => present[index] === isLost
  const last = files.length === maxFilesPerPage ? files.at(-1) : undefined
  return {
    suspects: files.filter(isSuspect).map(({ jobId }) => jobId),
    ...(last && { next: last.seq }),
  }
}
