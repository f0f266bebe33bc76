/** Paths below the data directory. */
import { existsSync, mkdirSync } from 'node:fs'
import { mkdir, readdir, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { JobFiles } from '../../actors/archive/archive-ports.ts'
import type { WorkFiles } from '../../actors/queue/queue-ports.ts'
import type { Epoch, JobId } from '../../domain/job.ts'
import { notThere } from './results-directory.ts'
import { sync } from './sync.ts'

export type DataDirectory = Readonly<{
  /** What attempts work with; gone when their job is over. */
  workDir: string
  /** Finished videos. */
  resultsDir: string
  /** One log per job. */
  logsDir: string
  /** Pictures made from finished videos: a cache, emptied at each start. */
  previewsDir: string
  stateDb: string
}>

export const jobDirectory = ({ workDir }: Pick<DataDirectory, 'workDir'>, jobId: JobId): string =>
  join(workDir, jobId)

export const attemptDirectory = (
  data: Pick<DataDirectory, 'workDir'>,
  { jobId, epoch }: { jobId: JobId; epoch: Epoch },
): string => join(jobDirectory(data, jobId), String(epoch))

/** What was uploaded with the job; which kind of image it is tells its content. */
export const imageOf = (data: Pick<DataDirectory, 'workDir'>, jobId: JobId): string =>
  join(jobDirectory(data, jobId), 'image')

const uploadPrefix = '.upload.'

/** An image that belongs to no job yet; removed at each start. */
export const uploadOf = ({ workDir }: Pick<DataDirectory, 'workDir'>, uploadId: string): string =>
  join(workDir, `${uploadPrefix}${uploadId}`)

/** What a generation writes: a file only its own attempt knows. */
export const sourceVideoPath = (attemptDir: string): string => join(attemptDir, 'video.mp4')

/** What its launcher tells of it. */
export const eventsOf = (attemptDir: string): string => join(attemptDir, 'events.jsonl')

export const logOf = ({ logsDir }: Pick<DataDirectory, 'logsDir'>, jobId: JobId): string =>
  join(logsDir, `${jobId}.log`)

/** Removes what the attempts of a job worked with, when the job is over. */
export function createWorkFiles(
  data: Pick<DataDirectory, 'workDir' | 'logsDir'>,
): WorkFiles & JobFiles {
  // A shim that has told its end may still be tidying up in there.
  const discard = (jobId: JobId) =>
    rm(jobDirectory(data, jobId), { recursive: true, force: true, maxRetries: 10, retryDelay: 50 })
  return {
    discard,
    async forget(jobId) {
      await discard(jobId)
      await rm(logOf(data, jobId), { force: true })
    },
    async keepImage(jobId, uploadId) {
      const directory = jobDirectory(data, jobId)
      await mkdir(directory)
      try {
        await rename(uploadOf(data, uploadId), imageOf(data, jobId))
        await sync(directory)
        await sync(data.workDir)
      } catch (error) {
        await discard(jobId)
        throw error
      }
    },
  }
}

/** Removes images that were coming in when a former life ended. */
export async function removeUploads({ workDir }: Pick<DataDirectory, 'workDir'>): Promise<void> {
  const left = (await readdir(workDir)).filter((name) => name.startsWith(uploadPrefix))
  for (const name of left) await rm(join(workDir, name), { recursive: true, force: true })
}

/** A shared directory of results must be there: to create one would hide that its file system is not mounted. */
export function createDirectories(data: DataDirectory, results: 'own' | 'shared' = 'own'): void {
  const { workDir, resultsDir, logsDir, previewsDir, stateDb } = data
  for (const directory of [workDir, logsDir, previewsDir, dirname(stateDb)]) {
    mkdirSync(directory, { recursive: true })
  }
  if (results === 'own') mkdirSync(resultsDir, { recursive: true })
  else if (!existsSync(resultsDir)) throw new Error(notThere(resultsDir))
}
