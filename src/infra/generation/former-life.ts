import { mkdir, readdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import * as v from 'valibot'
import type { AttemptKey } from '../../actors/ports.ts'
import { JobId } from '../../job.ts'
import type { Logger } from '../../log.ts'
import { attemptDirectory, type DataDirectory } from '../data-directory.ts'
import { killShim, revoke } from './shim-client.ts'
import { killStrays } from './strays.ts'

/** How many directories that belong to no job are kept for whoever wonders about them. */
const keptInArchive = 20

/**
 * Ends what a former life of the service has left running, and clears its directories away: those of
 * attempts that are over, and those of jobs that nobody knows (which are archived, not removed).
 * To be called before anything is claimed; attempts that still run are left to whoever adopts them.
 */
export async function endFormerLife(
  data: Pick<DataDirectory, 'workDir'>,
  {
    running,
    isKnown,
    archiveDir,
    log,
  }: {
    running: readonly AttemptKey[]
    isKnown(jobId: JobId): Promise<boolean>
    archiveDir: string
    log: Logger
  },
): Promise<void> {
  const current = new Set(running.map(({ jobId, epoch }) => `${jobId}/${epoch}`))
  for (const jobName of await readdir(data.workDir)) {
    const jobId = v.safeParse(JobId, jobName)
    if (!jobId.success) continue
    const known = await isKnown(jobId.output)
    const epochs = (await readdir(join(data.workDir, jobName)))
      .map(Number)
      .filter(Number.isSafeInteger)
    for (const epoch of epochs) {
      if (current.has(`${jobName}/${epoch}`)) continue
      const attempt = { jobId: jobId.output, epoch }
      const directory = attemptDirectory(data, attempt)
      revoke(directory)
      const unkillable = await killStrays(attempt)
      await killShim(directory)
      log.warn({ ...attempt, known, unkillable }, 'an attempt of a former life was ended')
      if (known) await rm(directory, { recursive: true, force: true })
    }
    if (!known) await archive(join(data.workDir, jobName), archiveDir, jobName)
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
