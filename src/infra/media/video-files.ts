/** The files of finished videos: found, recognised and deleted by name. */
import { opendir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { LRUCache } from 'lru-cache'
import type { FileFinding, FileSize, VideoFiles } from '../../actors/archive/archive-ports.ts'
import type { ResultFiles } from '../../actors/queue/queue-ports.ts'
import type { JobId } from '../../domain/job.ts'
import type { VideoFile } from '../../domain/video-file.ts'
import type { DataDirectory } from '../disk/data-directory.ts'
import { createNamesOnDisk } from '../disk/names-on-disk.ts'
import { openRegularFile, type RegularFile, statRegularFile } from '../disk/regular-file.ts'
import type { ResultsDirectory } from '../disk/results-directory.ts'
import type { Downloads } from './downloads.ts'
import { removePreviews } from './previews.ts'
import { contentSignature, makerOf } from './video-signature.ts'

/** A file is read once, and not again until it changes. */
const maxRemembered = 10_000

/** On this machine, whatever GPU a video was generated on. */
export type LocalVideoFiles = Omit<VideoFiles, 'arePresent'> &
  ResultFiles &
  Readonly<{ arePresent(files: readonly FileSize[]): Promise<readonly boolean[]> }>

type Remembered = Readonly<{ identity: string; finding: FileFinding }>

export function createVideoFiles(
  results: ResultsDirectory,
  data: Pick<DataDirectory, 'previewsDir'>,
  { isInUse }: Pick<Downloads, 'isInUse'>,
): LocalVideoFiles {
  const { path: resultsDir } = results
  const names = createNamesOnDisk(resultsDir)
  const remembered = new LRUCache<JobId, Remembered>({ max: maxRemembered })
  /** An answer about a file that is being removed would not stay true. */
  const removals = new Map<JobId, Promise<unknown>>()
  return {
    exists: names.has,
    isInUse,
    async find(video) {
      await removals.get(video.jobId)
      return look(video)
    },
    arePresent: (files) => Promise.all(files.map(isPresent)),
    async remove(video) {
      const { jobId } = video
      const earlier = removals.get(jobId)
      const removal = (async () => {
        await earlier
        return removeFile(video)
      })()
      const end = removal
        .catch(() => {})
        .finally(() => {
          if (removals.get(jobId) === end) removals.delete(jobId)
        })
      removals.set(jobId, end)
      return removal
    },
  }

  /** The video last: if this fails, the video is there. */
  async function removeFile(video: VideoFile): Promise<FileFinding> {
    const finding = await look(video)
    await removePreviews(data, video.jobId)
    if (finding === 'own' || finding === 'changed') {
      await rm(join(resultsDir, video.filename), { force: true })
      // One may have been made meanwhile.
      await removePreviews(data, video.jobId).catch(() => {})
    }
    remembered.delete(video.jobId)
    return finding
  }

  async function isPresent({ filename, bytes }: FileSize): Promise<boolean> {
    const stats = await statFile(join(resultsDir, filename))
    return typeof stats !== 'string' && Number(stats.size) === bytes
  }

  async function look(video: VideoFile): Promise<FileFinding> {
    const path = join(resultsDir, video.filename)
    const stats = await statFile(path)
    if (typeof stats === 'string') return stats
    const known = remembered.get(video.jobId)
    if (known?.identity === identityOf(stats)) return known.finding
    const file = await openRegularFile(path)
    if (file === 'missing' || file === 'other') return file
    try {
      const finding = await recognise(file, video)
      remembered.set(video.jobId, { identity: identityOf(file.stats), finding })
      return finding
    } finally {
      await file.handle.close()
    }
  }

  /** Without its directory, which may be on a disk that is away, nothing is known of a file. */
  async function statFile(path: string): Promise<RegularFile['stats'] | 'missing' | 'other'> {
    const stats = await statRegularFile(path)
    if (stats !== 'missing') return stats
    await results.check()
    // A network file system remembers for a while that there was no such file. To open the directory asks its server.
    await (await opendir(resultsDir)).close()
    return statRegularFile(path)
  }
}

/** Changes with each change of the file. */
const identityOf = ({ dev, ino, size, mtimeNs, ctimeNs }: RegularFile['stats']): string =>
  [dev, ino, size, mtimeNs, ctimeNs].join()

/** Records of earlier versions have no signature, but their files name their jobs as well. */
async function recognise(
  { handle, stats }: RegularFile,
  { jobId, facts }: VideoFile,
): Promise<FileFinding> {
  const size = Number(stats.size)
  const isSameSize = size === facts.bytes
  if (facts.signature !== undefined && isSameSize) {
    if ((await contentSignature(handle, size)) === facts.signature) return 'own'
  }
  const owner = (await makerOf(handle, size))?.jobId
  if (facts.signature === undefined && isSameSize && (owner ?? jobId) === jobId) return 'own'
  return owner === jobId ? 'changed' : 'other'
}
