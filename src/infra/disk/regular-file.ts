/**
 * Opens what may have been put in the place of a file of ours, by a generation above all. Opening a
 * FIFO waits for a writer, a link leads anywhere, and a device has no end: only regular files are read.
 */
import {
  type BigIntStats,
  closeSync,
  constants,
  fstatSync,
  openSync,
  readSync,
  writeFileSync,
} from 'node:fs'
import { type FileHandle, lstat, open } from 'node:fs/promises'

export type RegularFile = Readonly<{ handle: FileHandle; stats: BigIntStats }>

/** A link is not followed, and nothing waits for the other end of a FIFO. */
const atOnce = constants.O_NOFOLLOW | constants.O_NONBLOCK | constants.O_NOCTTY

/** Opens a regular file for reading. `other`: a directory, link, FIFO, socket or device has its name. */
export async function openRegularFile(path: string): Promise<RegularFile | 'missing' | 'other'> {
  // Opening a device may already have an effect.
  const found = await statRegularFile(path)
  if (typeof found === 'string') return found
  const handle = await open(path, constants.O_RDONLY | atOnce).catch((error: unknown) => {
    if (isMissing(error)) return 'missing'
    if (isOther(error)) return 'other'
    throw error
  })
  if (typeof handle === 'string') return handle
  try {
    const stats = await handle.stat({ bigint: true })
    if (stats.isFile()) return { handle, stats }
  } catch (error) {
    await handle.close()
    throw error
  }
  await handle.close()
  return 'other'
}

/** Facts about a regular file, without opening it. */
export async function statRegularFile(path: string): Promise<BigIntStats | 'missing' | 'other'> {
  try {
    const stats = await lstat(path, { bigint: true })
    return stats.isFile() ? stats : 'other'
  } catch (error) {
    if (isMissing(error)) return 'missing'
    throw error
  }
}

/** Whether there is a regular file, and not only a link to one. */
export const isRegularFile = (path: string): Promise<boolean> =>
  statRegularFile(path).then(
    (found) => typeof found !== 'string',
    () => false,
  )

/** Content of a regular file. Undefined when there is none, and when it is longer than `maxBytes`. */
export async function readRegularFile(path: string, maxBytes: number): Promise<Buffer | undefined> {
  const file = await openRegularFile(path)
  if (typeof file === 'string') return undefined
  try {
    const chunks: Buffer[] = []
    for (let length = 0; length <= maxBytes; ) {
      const { bytesRead, buffer } = await file.handle.read(Buffer.allocUnsafe(chunkBytes))
      if (bytesRead === 0) return Buffer.concat(chunks)
      length += bytesRead
      chunks.push(buffer.subarray(0, bytesRead))
    }
    return undefined
  } finally {
    await file.handle.close()
  }
}

/** As `openRegularFile`, on the event loop. Returns a descriptor, or undefined for `missing`. */
export function openRegularFileSync(path: string): number | undefined {
  try {
    return openSyncChecked(path, constants.O_RDONLY)
  } catch (error) {
    if (isMissing(error)) return undefined
    throw error
  }
}

/** As `readRegularFile`, on the event loop, for small files. Throws unless the file is missing. */
export function readRegularFileSync(path: string, maxBytes: number): Buffer | undefined {
  const fd = openRegularFileSync(path)
  if (fd === undefined) return undefined
  try {
    const chunks: Buffer[] = []
    for (let length = 0; length <= maxBytes; ) {
      const buffer = Buffer.allocUnsafe(chunkBytes)
      const bytesRead = readSync(fd, buffer)
      if (bytesRead === 0) return Buffer.concat(chunks)
      length += bytesRead
      chunks.push(buffer.subarray(0, bytesRead))
    }
    throw new UnexpectedFileError(`${path} is longer than ${maxBytes} bytes`)
  } finally {
    closeSync(fd)
  }
}

/** Appends to a regular file, which is created if there is none. */
export function appendRegularFileSync(path: string, text: string): void {
  const { O_WRONLY, O_APPEND, O_CREAT } = constants
  const fd = openSyncChecked(path, O_WRONLY | O_APPEND | O_CREAT)
  try {
    writeFileSync(fd, text)
  } finally {
    closeSync(fd)
  }
}

/** There is something else than a regular file, or more of it than there can be. */
export class UnexpectedFileError extends Error {
  override readonly name = 'UnexpectedFileError'
}

const chunkBytes = 64 * 1024

function openSyncChecked(path: string, flags: number): number {
  const fd = openSyncAtOnce(path, flags)
  try {
    if (!fstatSync(fd).isFile()) throw notRegular(path)
    return fd
  } catch (error) {
    closeSync(fd)
    throw error
  }
}

function openSyncAtOnce(path: string, flags: number): number {
  try {
    return openSync(path, flags | atOnce, 0o644)
  } catch (error) {
    throw isOther(error) ? notRegular(path, error) : error
  }
}

const notRegular = (path: string, cause?: unknown): UnexpectedFileError =>
  new UnexpectedFileError(`${path} is not a regular file; remove it`, { cause })

const codeOf = (error: unknown): string => (error as { code?: string }).code ?? ''

const isMissing = (error: unknown): boolean => codeOf(error) === 'ENOENT'

/** How the system refuses a link, a FIFO without a reader, a socket, a device without a driver, and to write a directory. */
const isOther = (error: unknown): boolean =>
  ['ELOOP', 'ENXIO', 'EOPNOTSUPP', 'ENODEV', 'EISDIR'].includes(codeOf(error))
