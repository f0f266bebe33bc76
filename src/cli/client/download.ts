/** A video on its way to a file of this machine, which is there when it is whole and not before. */
import { randomUUID } from 'node:crypto'
import { constants, createWriteStream } from 'node:fs'
import { access, link, rename, rm, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { setTimeout as delay } from 'node:timers/promises'
import type { Client, Job } from '../../http/typed-client.ts'
import { CommandError, exitCodes } from '../terminal/failure.ts'
import { say } from '../terminal/output.ts'
import { plain } from '../terminal/text.ts'
import { failureOf, responseOf, UnreachableError } from './service.ts'

export type Target = Readonly<{ path: string; force: boolean; isDirectory: boolean }>

/** Settled before a job is submitted: nobody waits for minutes to hear that a file is in the way. */
export async function targetOf(path: string, force: boolean): Promise<Target> {
  const found = await stat(path).catch(() => undefined)
  const isDirectory = found?.isDirectory() ?? false
  if (found && !isDirectory && !force) throw isThere(path)
  const directory = isDirectory ? path : dirname(path)
  await access(directory, constants.W_OK).catch((error: Error) => {
    throw cannot(`write into ${directory}`, error)
  })
  return { path, force, isDirectory }
}

/** Where the video is in the end. */
export async function download(
  api: Client,
  job: Job,
  { path, force, isDirectory }: Target,
  signal: AbortSignal,
): Promise<string> {
  const { filename, file } = job
  if (filename === null || file === null) {
    throw new CommandError(exitCodes.notFound, 'The video of this job has been deleted.')
  }
  // The service makes sure of its names; that it is the service is not so sure.
  const target = isDirectory ? join(path, basename(plain(filename))) : path
  const part = join(dirname(target), `.${randomUUID()}.part`)
  try {
    await untilWhole(api, { filename, bytes: file.bytes, part, signal })
    await publish(part, target, force)
    return target
  } finally {
    await rm(part, { force: true })
  }
}

type Part = Readonly<{ filename: string; bytes: number; part: string; signal: AbortSignal }>

const retryMs = 2_000

/** As often as the connection breaks. */
async function untilWhole(api: Client, { filename, bytes, part, signal }: Part): Promise<void> {
  for (;;) {
    try {
      const response = await responseOf(
        api.files[':filename'].$get({ param: { filename } }, { init: { signal } }),
      )
      const body = Readable.fromWeb((response as Response).body as never)
      await pipeline(body, createWriteStream(part), { signal })
      if ((await stat(part)).size === bytes) return
      throw new UnreachableError('The video has not come whole.')
    } catch (error) {
      const failure = failureOf(error)
      if (isOfFiles(failure)) throw cannot(`write ${part}`, failure)
      if (!(failure instanceof UnreachableError)) throw failure
      say(`${failure.message} Trying again.`)
    }
    await delay(retryMs, undefined, { signal })
  }
}

async function publish(part: string, target: string, force: boolean): Promise<void> {
  try {
    if (force) await rename(part, target)
    else await link(part, target)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'EEXIST') throw isThere(target)
    if (force || !withoutLinks.has(code ?? '')) throw cannot(`write ${target}`, error as Error)
    if (await stat(target).catch(() => undefined)) throw isThere(target)
    await rename(part, target)
  }
}

/** What file systems that know no links say of one. */
const withoutLinks = new Set(['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK'])

const isOfFiles = (error: unknown): error is NodeJS.ErrnoException =>
  error instanceof Error && 'syscall' in error

const isThere = (path: string): CommandError =>
  new CommandError(exitCodes.file, `${plain(path)} is there already; --force replaces it.`)

export const cannot = (what: string, error: Error): CommandError =>
  new CommandError(exitCodes.file, `Cannot ${plain(what)}: ${plain(error.message)}`)
