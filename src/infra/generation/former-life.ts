import { mkdir, readdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import * as v from 'valibot'
import type { AttemptKey } from '../../domain/job.ts'
import { JobId } from '../../domain/job.ts'
import type { Logger } from '../../domain/log.ts'
import { attemptDirectory, type DataDirectory } from '../disk/data-directory.ts'
import { attemptsIn, killAttempts, survivorsOf } from '../processes/strays.ts'

/** Number of directories of unknown jobs that are kept. */
const keptInArchive = 20

export type FormerLife = Readonly<{
  /** Reads the attempts that still run here. `converting`: those of them whose generation has ended. */
  readCurrent(): Promise<Current>
  /** Attempts that an actor of this process follows now. It ends them itself. */
  watched?(): readonly AttemptKey[]
  fateOf(jobId: JobId): Promise<'open' | 'over' | 'unknown'>
  archiveDir: string
  log: Logger
}>

type Current = Readonly<{ running: readonly AttemptKey[]; converting: readonly AttemptKey[] }>

/**
 * Ends processes of a previous run of the service, and removes their directories: those of attempts and jobs that have
 * ended, and those of unknown jobs. An unknown job that was attempted is archived.
 * Attempts that still run are left to the actors that adopt them.
 * Returns the ended attempts of which a process survives SIGKILL. Their directories are kept, for the next look.
 *
 * Attempts may start meanwhile. An attempt is recorded before it has a directory or a process. So the attempts on this
 * machine are listed first and the records are read afterwards: an attempt that starts later is not in the list.
 */
export async function endFormerLife(
  data: Pick<DataDirectory, 'workDir'>,
  { readCurrent, watched = () => [], fateOf, archiveDir, log }: FormerLife,
): Promise<readonly AttemptKey[]> {
  const directories = await jobDirectories(data.workDir)
  // Processes outlive the removal of their directory, and of the database that knew them.
  const hidden = await attemptsIn(data.workDir)
  const before = watched()
  const { running, converting } = await readCurrent()
  const current = new Set([...running, ...before, ...watched()].map(nameOf))
  const isOver = (attempt: AttemptKey) => !current.has(nameOf(attempt))
  const over = directories.flatMap(({ attempts }) => attempts.filter(isOver))
  // A conversion is started again from the beginning.
  const ended = [...over, ...hidden.filter(isOver)]
  const ending = [...ended, ...converting]
  const { found, survivors } = ending.length > 0 ? await killAttempts(ending) : nobody
  if (found > 0) log.warn({ found, unkillable: survivors }, 'processes of a former life were ended')
  const unkillable = survivors > 0 ? await survivorsOf(ended) : []
  const stuck = new Set(unkillable.map(nameOf))
  const isUnkillable = (attempt: AttemptKey) => stuck.has(nameOf(attempt))

  for (const { jobId, directory, attempts } of directories) {
    const fate = await fateOf(jobId)
    const known = fate !== 'unknown'
    for (const attempt of attempts.filter(isOver)) {
      if (isUnkillable(attempt)) continue
      log.warn({ ...attempt, known }, 'an attempt of a former life was ended')
      if (known) await rm(attemptDirectory(data, attempt), { recursive: true, force: true })
    }
    if (watched().some((attempt) => attempt.jobId === jobId)) continue
    if (attempts.some(isUnkillable)) continue
    if (fate === 'unknown' && attempts.length > 0) await archive(directory, archiveDir, jobId)
    else if (fate !== 'open') await rm(directory, { recursive: true, force: true })
  }
  return unkillable
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
