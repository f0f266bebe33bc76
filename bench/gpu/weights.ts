/** The checkpoint that the service loads: real weights, or random ones of the same size. */
import { existsSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import {
  checkpointLayouts,
  findCheckpointFaults,
  howToDownload,
} from '../../src/infra/installation/checkpoint.ts'
import { runTool } from '../../src/infra/processes/tool.ts'
import { aDirectory } from '../service.ts'
import { type Clock, FailedError, type Found } from './checks.ts'
import type { Options } from './options.ts'

const task = 'ti2v-5B'

/** All files of ti2v-5B together have 34.2 GB. */
export const bytesToWrite = 34_500_000_000
/** Host memory that writing takes: the text encoder, and PyTorch itself. */
export const bytesToWriteFrom = 13 * 1024 ** 3

export const temporaryFolder = (): string => process.env.TMPDIR || tmpdir()

export const hasFiles = (directory: string): boolean =>
  existsSync(directory) && readdirSync(directory).length > 0

export type Weights = Readonly<{ ckptDir: string; areReal: boolean }>

/** `atEnd`: removes what is not to be kept. */
export async function ensureWeights(
  { ckptDir, weightsDir, python, wanDir }: Options,
  clock: Clock,
  atEnd: (remove: () => void) => void,
): Promise<Found<Weights>> {
  if (ckptDir !== undefined) {
    await refuseFaults(ckptDir, howToDownload({ ckptDir, task }))
    return found(resolve(ckptDir), true, `as given: ${ckptDir}`)
  }
  if (weightsDir !== undefined && hasFiles(weightsDir)) {
    await refuseFaults(weightsDir, 'Remove it, or pass another --weights-dir.')
    return found(resolve(weightsDir), false, `random, as written before: ${weightsDir}`)
  }
  const folder = weightsDir === undefined ? aDirectory() : undefined
  const directory = folder === undefined ? resolve(weightsDir as string) : join(folder, 'weights')
  const unfinished = `${directory}.unfinished`
  const remove = (path: string) => rmSync(path, { recursive: true, force: true })
  atEnd(() => {
    remove(unfinished)
    if (folder) remove(folder)
  })
  remove(unfinished)
  const lengths = checkpointLayouts[task].files.map(({ path, bytes }) => `${path}=${bytes}`)
  const program = join(import.meta.dirname, 'weights.py')
  const begin = performance.now()
  const output = await runTool([python, program, resolve(wanDir), unfinished, ...lengths], {
    timeoutMs: Math.max(1, clock.leftMs()),
    signal: clock.signal,
    env: { ...process.env, PYTHONDONTWRITEBYTECODE: '1' },
  })
  const sizes = Object.values(JSON.parse(output) as Record<string, number>)
  const bytes = sizes.reduce((sum, size) => sum + size, 0)
  const gbPerS = bytes / 1e6 / (performance.now() - begin)
  renameSync(unfinished, directory)
  await refuseFaults(directory, 'Report this as an error of gpu-check.')
  const detail = `random, ${(bytes / 1e9).toFixed(1)} GB written at ${gbPerS.toFixed(2)} GB/s`
  return found(directory, false, detail, { bytes, gbPerS })
}

const found = (ckptDir: string, areReal: boolean, detail: string, figures = {}) => ({
  detail: `${detail}; the service takes them for whole`,
  figures: { ...figures, areReal },
  value: { ckptDir, areReal },
})

async function refuseFaults(ckptDir: string, remedy: string): Promise<void> {
  const faults = await findCheckpointFaults({ ckptDir, task })
  if (faults.length === 0) return
  const list = faults.map(({ path, problem }) => `${path} ${problem}`).join('; ')
  throw new FailedError(`${ckptDir} is no whole checkpoint of ${task}: ${list}. ${remedy}`)
}
