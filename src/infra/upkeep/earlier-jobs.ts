import { readdir } from 'node:fs/promises'
import type { DataDirectory } from '../disk/data-directory.ts'
import { backupsIn } from './backups.ts'

/** Whether jobs have left files here, so that a database without any cannot be the right one. */
export async function hasFilesOfJobs(
  { workDir, resultsDir }: Pick<DataDirectory, 'workDir' | 'resultsDir'>,
  backupsDir: string,
): Promise<boolean> {
  if ((await backupsIn(backupsDir)).length > 0) return true
  if ((await readdir(workDir)).some((name) => jobId.test(name))) return true
  return (await readdir(resultsDir)).some((name) => ownName.test(name))
}

const jobId = /^[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}$/

/** Other videos there may be somebody else's. */
const ownName = /^result_gpu\d+_.*\.mp4$/
