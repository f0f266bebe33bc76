import { readFile, rm } from 'node:fs/promises'
import pLimit from 'p-limit'
import type { WorkFiles } from '../../../actors/queue/queue-ports.ts'
import { DatabaseUnreachableError } from '../../../domain/errors.ts'
import type { JobId } from '../../../domain/job.ts'
import { type DataDirectory, uploadOf } from '../../disk/data-directory.ts'
import type { ImageStore } from './image-store.ts'

export type ClusterWorkFilesOptions = Readonly<{
  images: Pick<ImageStore, 'keep' | 'remove'>
  data: Pick<DataDirectory, 'workDir'>
  /** Files of jobs on this node. */
  local: Pick<WorkFiles, 'discard'>
}>

/**
 * Work files of the leader's queue. Images are in the database, where all nodes find them. Directories of attempts are
 * on the nodes that ran them; those of this node are removed here.
 */
export function createClusterWorkFiles({
  images,
  data,
  local,
}: ClusterWorkFilesOptions): WorkFiles {
  // An image takes up to 20 MiB of memory, and changes to the database take turns anyway.
  const inTurn = pLimit(1)
  const unremoved = new Set<JobId>()

  return {
    async keepImage(jobId, uploadId) {
      const path = uploadOf(data, uploadId)
      await inTurn(async () => images.keep(jobId, await readFile(path))).catch(notStored)
      await rm(path, { force: true })
    },

    async discard(jobId) {
      unremoved.add(jobId)
      await Promise.all([local.discard(jobId), removeImages()])
    },
  }

  /** Also those that could not be removed earlier, while the database did not respond. */
  async function removeImages(): Promise<void> {
    for (const jobId of [...unremoved]) {
      await images.remove(jobId)
      unremoved.delete(jobId)
    }
  }
}

/** An image may be stored by a commit without an answer. Its job is not, and that is what the client asks. */
function notStored(error: unknown): never {
  if (!(error instanceof DatabaseUnreachableError)) throw error
  throw new DatabaseUnreachableError(error.message, { cause: error.cause })
}
