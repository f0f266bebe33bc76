import { mkdir, readdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import * as v from 'valibot'
import type { AttemptKey } from '../../domain/job.ts'
import { JobId } from '../../domain/job.ts'
import type { Logger } from '../../domain/log.ts'
import { attemptDirectory, type DataDirectory } from '../disk/data-directory.ts'
import { attemptsIn, killAttempts } from '../processes/strays.ts'

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
    watched = [],
    converting,
    fateOf,
    archiveDir,
    log,
  }: {
    running: readonly AttemptKey[]
    /** Attempts that an actor of this process watches: whatever became of them, it sees to their end. */
    watched?: readonly AttemptKey[]
    /** Those of `running` whose generation has ended. */
    converting: readonly AttemptKey[]
    fateOf(jobId: JobId): Promise<'open' | 'over' | 'unknown'>
    archiveDir: string
    log: Logger
  },
): Promise<void> {
  const current = new Set([...running, ...watched].map(nameOf))
  const watchedJobs = new Set(watched.map(({ jobId }) => jobId))
  const isOver = (attempt: AttemptKey) => !current.has(nameOf(attempt))
  const directories = await jobDirectories(data.workDir)
  const over = directories.flatMap(({ attempts }) => attempts.filter(isOver))
  // Whoever removed a directory, or the database that knew it, has not ended its processes.
  const hidden = (await attemptsIn(data.workDir)).filter(isOver)
  // A conversion is started again from the beginning.
  const ending = [...over, ...hidden, ...converting]
  const { found, survivors } = ending.length > 0 ? await killAttempts(ending) : nobody
  if (found > 0) log.warn({ found, unkillable: survivors }, 'processes of a former life were ended')

  for (const { jobId, directory, attempts } of directories) {
    const fate = await fateOf(jobId)
    const known = fate !== 'unknown'
    for (const attempt of attempts.filter(isOver)) {
      log.warn({ ...attempt, known }, 'an attempt of a former life was ended')
      if (known) await rm(attemptDirectory(data, attempt), { recursive: true, force: true })
    }
    if (watchedJobs.has(jobId)) continue
    if (fate === 'unknown' && attempts.length > 0) await archive(directory, archiveDir, jobId)
    else if (fate !== 'open') await rm(directory, { recursive: true, force: true })
  }
}

const nobody = { found: 0, survivors: 0 }

const nameOf = ({ jobId, epoch }: AttemptKey): string => `${jobId}/${epoch}`

async function jobDirectories(workDir: string) {
  const names = await readdir(workDir)
  const jobIds = names.flatMap((name) => {
    const jobId = v.safeParse(JobId, name)
    return jobId.success ? [jobId.output] : []
  })
  return await Promise.all(
    jobIds.map(async (jobId) => {
      const directory = join(workDir, jobId)
      const names = await readdir(directory).catch(() => []) // it is no directory
      const epochs = names.map(Number).filter(Number.isSafeInteger)
      return { jobId, directory, attempts: epochs.map((epoch) => ({ jobId, epoch })) }
    }),
  )
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
