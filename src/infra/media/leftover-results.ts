/** Files in a directory of results that nobody needs, for example of attempts that were given to other nodes. */
import { randomUUID } from 'node:crypto'
import { type FileHandle, open, opendir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import * as v from 'valibot'
import { type AttemptKey, type Job, JobId, runsIn } from '../../domain/job.ts'
import { type ResultsDirectory, unfinishedPrefix } from '../disk/results-directory.ts'
import { makerAt, takeAway } from './publication.ts'
import type { Maker } from './video-signature.ts'

export type LeftoverOptions = Readonly<{
  results: ResultsDirectory
  /** As it is stored; undefined: nothing is known of it. */
  find(jobId: JobId): Promise<Job | undefined>
  /** Which of these names the records of videos in this directory have. */
  recorded(filenames: readonly string[]): Promise<ReadonlySet<string>>
  /** Younger files may be those of an attempt that is about to be recorded. */
  minAgeMs?: number
  /** Unfinished files are left to others. */
  onlyVideos?: boolean
}>

const defaultMinAgeMs = 3_600_000

/** Names that are compared with the records at once. */
const namesAtOnce = 200

/** Resolves with the names of the files that were removed. */
export async function removeLeftoverResults({
  results,
  find,
  recorded,
  minAgeMs = defaultMinAgeMs,
  onlyVideos = false,
}: LeftoverOptions): Promise<readonly string[]> {
  await results.check()
  const before = (await now(results)) - minAgeMs
  const removed: string[] = []
  for await (const names of pagesOf(results.path)) {
    const known = await recorded(names.filter((name) => !name.startsWith('.')))
    for (const name of names) {
      if (!known.has(name) && (await isOld(name)) && (await remove(name))) removed.push(name)
    }
  }
  return removed

  async function isOld(name: string): Promise<boolean> {
    const stats = await stat(join(results.path, name)).catch(() => undefined)
    return stats !== undefined && stats.mtimeMs < before
  }

  async function remove(name: string): Promise<boolean> {
    const path = join(results.path, name)
    if (!name.startsWith('.')) return removeVideo(path)
    if (onlyVideos) return false
    const attempt = attemptIn(name)
    if (attempt && runsIn(await find(attempt.jobId), attempt)) return false
    await rm(path, { recursive: true, force: true })
    return true
  }

  async function removeVideo(path: string): Promise<boolean> {
    const maker = await makerAt(path)
    const job = maker && (await find(maker.jobId))
    if (!maker || !job || !isLeftover(maker, job)) return false
    const aside = join(results.path, `${results.unfinishedPrefix}${randomUUID()}.old`)
    return takeAway(
      path,
      aside,
      (there) => there?.jobId === maker.jobId && there.epoch === maker.epoch,
    )
  }
}

/** By the clock of the file system, with which the times of its files agree. */
async function now({ path, unfinishedPrefix }: ResultsDirectory): Promise<number> {
  const reference = join(path, `${unfinishedPrefix}${randomUUID()}`)
  let file: FileHandle | undefined
  try {
    file = await open(reference, 'wx')
    await file.writeFile('now')
    await file.sync()
    return (await file.stat()).mtimeMs
  } finally {
    await file?.close()
    await rm(reference, { force: true })
  }
}

async function* pagesOf(directory: string): AsyncGenerator<readonly string[]> {
  let names: string[] = []
  for await (const { name } of await opendir(directory)) {
    if (!name.startsWith(unfinishedPrefix) && (name.startsWith('.') || !name.endsWith('.mp4'))) {
      continue
    }
    names.push(name)
    if (names.length < namesAtOnce) continue
    yield names
    names = []
  }
  yield names
}

/** Home of the node, job, epoch. Earlier versions had no home in it. */
const unfinishedPattern = /^\.unfinished\.(?:[\da-f-]{36}\.)?([\da-f-]{36})\.(\d{1,15})\./

function attemptIn(name: string): AttemptKey | undefined {
  const [, job, epoch] = unfinishedPattern.exec(name) ?? []
  const jobId = v.safeParse(JobId, job)
  return jobId.success ? { jobId: jobId.output, epoch: Number(epoch) } : undefined
}

/**
 * A file of an attempt whose result was not recorded and will not be. A copy of a recorded video under another name has
 * the recorded epoch, and belongs to whoever made the copy. A later epoch than that of the job was claimed after the
 * backup that the database was restored from. Files of earlier versions have no epoch.
 */
export function isLeftover({ epoch }: Maker, { epoch: latest, state: { status } }: Job): boolean {
  if (epoch === undefined) return false
  const isWanted = status === 'running' || status === 'success'
  return isWanted ? epoch < latest : epoch <= latest
}
