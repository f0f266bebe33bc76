/** How a finished video gets its name in the directory of results, and loses it again. */
import { link, readdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { ConversionOutput } from '../../actors/conversion/conversion-ports.ts'
import type { AttemptKey } from '../../domain/job.ts'
import { openRegularFile } from '../disk/regular-file.ts'
import type { ResultsDirectory } from '../disk/results-directory.ts'
import { sync } from '../disk/sync.ts'
import { type Maker, makerOf } from './video-signature.ts'

/** Begins the names of unfinished files of one attempt. */
export const prefixOf = (
  { unfinishedPrefix }: ResultsDirectory,
  { jobId, epoch }: AttemptKey,
): string => `${unfinishedPrefix}${jobId}.${epoch}.`

/**
 * Gives a finished file its name, at once and for good. Nothing is overwritten: the name may belong to a file of another
 * origin, or to another attempt of the job on another node. Only the file of an earlier attempt is removed first.
 */
export async function publish(
  results: ResultsDirectory,
  from: string,
  output: ConversionOutput,
): Promise<void> {
  const to = join(results.path, output.filename)
  const isPublished =
    (await gotName(from, to)) ||
    ((await takeAway(to, `${from}.old`, (maker) => isReplaceable(maker, output))) &&
      (await gotName(from, to)))
  if (!isPublished) {
    throw new Error(
      `${output.filename} appeared in RESULTS_DIR and is not this job's, or it is that of a later attempt.`,
    )
  }
  await rm(from, { force: true })
  await sync(results.path)
}

/** Removes what an attempt has made: its unfinished files, and its published one. */
export async function withdraw(results: ResultsDirectory, output: ConversionOutput): Promise<void> {
  const prefix = prefixOf(results, output)
  await removeUnfinished(results, prefix)
  const published = join(results.path, output.filename)
  const aside = join(results.path, `${prefix}${crypto.randomUUID()}.old`)
  await takeAway(published, aside, (maker) => isMadeBy(maker, output))
}

/** Removes what conversions of this node left that were cut off: all of it, or that of one attempt. */
export async function removeUnfinished(
  { path, unfinishedPrefix }: ResultsDirectory,
  prefix = unfinishedPrefix,
): Promise<void> {
  const left = (await readdir(path)).filter((name) => name.startsWith(prefix))
  for (const name of left) await rm(join(path, name), { recursive: true, force: true })
}

/** The attempt that is named in a video. */
export async function makerAt(path: string): Promise<Maker | undefined> {
  const file = await openRegularFile(path)
  if (file === 'missing' || file === 'other') return undefined
  try {
    return await makerOf(file.handle, Number(file.stats.size))
  } finally {
    await file.handle.close()
  }
}

/** False: something has the name. */
async function gotName(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to)
    return true
  } catch (error) {
    if ((error as { code?: string }).code !== 'EEXIST') throw error
    return false
  }
}

/**
 * Removes a file of an expected maker. The file is moved aside and recognised once more, since a node that was cut off
 * may come to this step late, when another file has the name. False: the file has another maker, and stays.
 */
export async function takeAway(
  path: string,
  aside: string,
  isExpected: (maker: Maker | undefined) => boolean,
): Promise<boolean> {
  if (!isExpected(await makerAt(path))) return false
  if (!(await isMoved(path, aside))) return true
  const isTaken = isExpected(await makerAt(aside))
  if (!isTaken && !(await gotName(aside, path))) throw new Error(`${path} is being replaced`)
  await rm(aside, { force: true })
  return isTaken
}

/** False: nothing has the name by now. */
async function isMoved(from: string, to: string): Promise<boolean> {
  try {
    await rename(from, to)
    return true
  } catch (error) {
    if ((error as { code?: string }).code !== 'ENOENT') throw error
    return false
  }
}

/** Epochs rise with each claim of the job, and no job that has a video is claimed again. */
const isReplaceable = (maker: Maker | undefined, { jobId, epoch }: AttemptKey): boolean =>
  maker?.jobId === jobId && (maker.epoch ?? 0) <= epoch

const isMadeBy = (maker: Maker | undefined, { jobId, epoch }: AttemptKey): boolean =>
  maker?.jobId === jobId && (maker.epoch ?? epoch) === epoch
