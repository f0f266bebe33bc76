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
  /** Jobs of which an image is stored already. */
  withImage: readonly JobId[]
  data: Pick<DataDirectory, 'workDir'>
  /** Files of jobs on this node. */
  local: Pick<WorkFiles, 'discard'>
  maxKeepMs?: number
}>

/** Shorter than a submission with an image is waited for. */
const defaultMaxKeepMs = 100_000

/** Commits of jobs wait for a removal: images have up to 20 MiB each. */
const maxRemovedAtOnce = 10

/**
 * Work files of the leader's queue. Images are in the database, where all nodes find them. Directories of attempts are
 * on the nodes that ran them; those of this node are removed here.
 */
export function createClusterWorkFiles({
  images,
  withImage,
  data,
  local,
  maxKeepMs = defaultMaxKeepMs,
}: ClusterWorkFilesOptions): WorkFiles {
  // Other reads of the leader need a connection too.
  const inTurn = pLimit(2)
  const oneRemoval = pLimit(1)
  /** Jobs of which an image may be stored. All others end without a query. */
  const kept = new Set(withImage)
  /** Jobs that have ended, and whose images are not removed yet. */
  const due = new Set<JobId>()

  return {
    async keepImage(jobId, uploadId) {
      const path = uploadOf(data, uploadId)
      const until = performance.now() + maxKeepMs
      kept.add(jobId)
      due.delete(jobId)
      try {
        await inTurn(() => images.keep(jobId, partsUntil(path, until, maxKeepMs)))
      } catch (error) {
        due.add(jobId)
        throw notStored(error)
      }
      await rm(path, { force: true })
    },

    async discard(jobId) {
      if (kept.has(jobId)) due.add(jobId)
      const removed = due.size > 0 ? oneRemoval(() => removeDue(jobId)) : undefined
      await Promise.all([local.discard(jobId), removed])
    },
  }

  /**
   * Jobs that end together share a query. Images that could not be removed earlier, while the database did not respond,
   * are removed with them.
   */
  async function removeDue(jobId: JobId): Promise<void> {
    const isDue = due.has(jobId)
    const others = due.values().filter((one) => one !== jobId)
    const jobs = [...(isDue ? [jobId] : []), ...others.take(maxRemovedAtOnce - 1)]
    if (jobs.length === 0) return
    try {
      await inTurn(() => images.remove(jobs))
    } catch (error) {
      // Each of the others has a turn of its own, or has failed before.
      if (isDue) throw error
      return
    }
    for (const removed of jobs) {
      due.delete(removed)
      kept.delete(removed)
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
