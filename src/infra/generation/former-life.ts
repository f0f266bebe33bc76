import { mkdir, readdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import * as v from 'valibot'
import type { AttemptKey } from '../../domain/job.ts'
import { JobId } from '../../domain/job.ts'
import type { Logger } from '../../domain/log.ts'
import { attemptDirectory, type DataDirectory } from '../disk/data-directory.ts'
import { killShim } from '../processes/shim-client.ts'
import { killStrays } from '../processes/strays.ts'

/** How many directories that belong to no job are kept for whoever wonders about them. */
const keptInArchive = 20

/**
 * Ends what a former life of the service has left running, and clears its directories away: those of
 * attempts and jobs that are over, and those of jobs that nobody knows. What such a job has done is
 * archived; one that had its image but was never taken leaves nothing.
 * To be called before anything is claimed; attempts that still run are left to whoever adopts them.
 */
export async function endFormerLife(
  data: Pick<DataDirectory, 'workDir'>,
  {
    running,
    fateOf,
    archiveDir,
    log,
  }: {
    running: readonly AttemptKey[]
    fateOf(jobId: JobId): Promise<'open' | 'over' | 'unknown'>
    archiveDir: string
    log: Logger
  },
): Promise<void> {
  const current = new Set(running.map(({ jobId, epoch }) => `${jobId}/${epoch}`))
  for (const jobName of await readdir(data.workDir)) {
    const jobId = v.safeParse(JobId, jobName)
    if (!jobId.success) continue
    const fate = await fateOf(jobId.output)
    const known = fate !== 'unknown'
    const jobDir = join(data.workDir, jobName)
    const epochs = (await readdir(jobDir)).map(Number).filter(Number.isSafeInteger)
    const over = epochs.filter((epoch) => !current.has(`${jobName}/${epoch}`))
    for (const epoch of over) {
      const attempt = { jobId: jobId.output, epoch }
      const unkillable = await killStrays(attempt)
      await killShim(attemptDirectory(data, attempt))
      log.warn({ ...attempt, known, unkillable }, 'an attempt of a former life was ended')
      if (known) await rm(attemptDirectory(data, attempt), { recursive: true, force: true })
    }
    if (fate === 'unknown' && epochs.length > 0) await archive(jobDir, archiveDir, jobName)
    else if (fate !== 'open') await rm(jobDir, { recursive: true, force: true })
  }
}

async function archive(directory: string, archiveDir: string, name: string): Promise<void> {
  await mkdir(archiveDir, { recursive: true })
  await rm(join(archiveDir, name), { recursive: true, force: true })
  await rename(directory, join(archiveDir, name))
  const archived = await readdir(archiveDir)
  for (const old of archived.toSorted().slice(0, -keptInArchive)) {
    if (old !== name) await rm(join(archiveDir, old), { recursive: true, force: true })
  }
}
