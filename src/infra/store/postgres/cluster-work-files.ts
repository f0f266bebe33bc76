import { createReadStream } from 'node:fs'
import { rm } from 'node:fs/promises'
import { performance } from 'node:perf_hooks'
import pLimit from 'p-limit'
import type { WorkFiles } from '../../../actors/queue/queue-ports.ts'
import { DatabaseUnreachableError } from '../../../domain/errors.ts'
import type { JobId } from '../../../domain/job.ts'
import { type DataDirectory, uploadOf } from '../../disk/data-directory.ts'
import { type ImageStore, maxPartBytes } from './image-store.ts'

export type ClusterWorkFilesOptions = Readonly<{
  images: Pick<ImageStore, 'keep' | 'remove'>
  data: Pick<DataDirectory, 'workDir'>
  /** Files of jobs on this node. */
  local: Pick<WorkFiles, 'discard'>
  maxKeepMs?: number
}>

/** Shorter than a submission with an image is waited for. */
const defaultMaxKeepMs = 100_000

/**
 * Work files of the leader's queue. Images are in the database, where all nodes find them. Directories of attempts are
 * on the nodes that ran them; those of this node are removed here.
 */
export function createClusterWorkFiles({
  images,
  data,
  local,
  maxKeepMs = defaultMaxKeepMs,
}: ClusterWorkFilesOptions): WorkFiles {
  // Other reads of the leader need a connection too.
  const inTurn = pLimit(2)
  const unremoved = new Set<JobId>()

  return {
    async keepImage(jobId, uploadId) {
      const path = uploadOf(data, uploadId)
      const until = performance.now() + maxKeepMs
      unremoved.delete(jobId)
      try {
        await inTurn(() => images.keep(jobId, partsUntil(path, until, maxKeepMs)))
      } catch (error) {
        unremoved.add(jobId)
        throw notStored(error)
      }
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

async function* partsUntil(path: string, until: number, maxKeepMs: number): AsyncGenerator<Buffer> {
  for await (const part of createReadStream(path, { highWaterMark: maxPartBytes })) {
    if (performance.now() > until) {
      const seconds = Math.round(maxKeepMs / 1000)
      throw new DatabaseUnreachableError(
        `the image could not be sent to PostgreSQL within ${seconds} s`,
      )
    }
    yield part as Buffer
  }
}

/** An image may be stored by a commit without an answer. Its job is not, and that is what the client asks. */
const notStored = (error: unknown): unknown =>
  error instanceof DatabaseUnreachableError
    ? new DatabaseUnreachableError(error.message, { cause: error.cause })
    : error
