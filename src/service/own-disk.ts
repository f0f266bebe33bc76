/** The data directory of this machine: its lock, and what a former life of the service has left in it. */
import type { Config } from '../config/config.ts'
import { type AttemptKey, type GpuId, isOpen, type Job, type JobId } from '../domain/job.ts'
import type { Logger } from '../domain/log.ts'
import { createDirectories, removeUploads } from '../infra/disk/data-directory.ts'
import { lockDirectory } from '../infra/disk/lock.ts'
import { createReserve } from '../infra/disk/reserve.ts'
import type { ResultsDirectory } from '../infra/disk/results-directory.ts'
import { endFormerLife } from '../infra/generation/former-life.ts'
import { forgetPreviews } from '../infra/media/previews.ts'
import { removeUnfinished } from '../infra/media/publication.ts'

/** Locks the directory, and creates what is missing in it. Throws with a message for the operator. */
export function openOwnDisk(config: Config, resources: AsyncDisposableStack) {
  const lock = resources.adopt(lockDirectory(config.dataDir), ({ release }) => release())
  createDirectories(config.data, config.resultsShared ? 'shared' : 'own')
  return { lockPath: lock.path, reserve: createReserve(config.reserve) }
}

/** Removes what was being made when a former life ended. */
export async function removeHalfMade({ data }: Config, results: ResultsDirectory): Promise<void> {
  await removeUnfinished(results)
  await removeUploads(data)
  await forgetPreviews(data)
}

export type FormerLifeOptions = Readonly<{
  /** Reads the jobs that run on this machine. */
  readRunning(): Promise<readonly Job[]>
  /** Attempts that an actor of this process follows now. */
  watched?(): readonly AttemptKey[]
  /** Conversions may be in progress; otherwise all of them ended with the former life. */
  mayConvert?: boolean
  find(jobId: JobId): Promise<Job | undefined>
  /** Undefined for an attempt without a record. */
  gpuOf(attempt: AttemptKey): Promise<GpuId | undefined>
  log: Logger
}>

export type Unkillable = AttemptKey & Readonly<{ gpu: GpuId }>

/**
 * Ends processes of attempts that do not run any more, and removes their files.
 * Returns the attempts of which a process survives SIGKILL, where their GPU is known.
 */
export async function endFormerLifeOn(
  { data, archiveDir }: Config,
  { readRunning, watched, mayConvert = false, find, gpuOf, log }: FormerLifeOptions,
): Promise<readonly Unkillable[]> {
  const unkillable = await endFormerLife(data, {
    async readCurrent() {
      const running = await readRunning()
      const converting = mayConvert ? [] : running.filter(isConverting)
      return { running: running.map(keyOf), converting: converting.map(keyOf) }
    },
    ...(watched && { watched }),
    fateOf: async (jobId) => fateOf(await find(jobId)),
    archiveDir,
    log,
  })
  const placed: Unkillable[] = []
  for (const attempt of unkillable) {
    const gpu = await gpuOf(attempt)
    log.error({ ...attempt, gpu }, 'a process of an attempt that has ended survives SIGKILL')
    if (gpu !== undefined) placed.push({ ...attempt, gpu })
  }
  return placed
}

const keyOf = ({ id, epoch }: Job): AttemptKey => ({ jobId: id, epoch })

const isConverting = ({ state }: Job): boolean =>
  state.status === 'running' && state.phase === 'converting'

function fateOf(job: Job | undefined): 'open' | 'over' | 'unknown' {
  if (!job) return 'unknown'
  return isOpen(job) ? 'open' : 'over'
}
