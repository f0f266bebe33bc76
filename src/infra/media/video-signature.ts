/** How a published video is recognised: by its content, and by the job that is named in it. */
import { createHash } from 'node:crypto'
import type { FileHandle } from 'node:fs/promises'
import * as v from 'valibot'
import { type AttemptKey, type Epoch, JobId, type VideoRequest } from '../../domain/job.ts'

/**
 * The index of an MP4 is in its first part, and tells two videos apart by the sizes of their frames.
 * All of a large file would take seconds to read, and thousands of them are deleted at once.
 */
const partBytes = 64 * 1024

/** Length, first and last part of a file as one hash. It stays the same in a copy of the file. */
export async function contentSignature(handle: FileHandle, size: number): Promise<string> {
  const hash = createHash('sha256').update(`${size}\n`)
  hash.update(await readPart(handle, 0, Math.min(size, partBytes)))
  const rest = Math.min(Math.max(0, size - partBytes), partBytes)
  hash.update(await readPart(handle, size - rest, rest))
  return `parts:${hash.digest('base64url')}`
}

/** The comment in each published file. It names the attempt whatever the name of the file. */
export const makerComment = (
  { jobId, epoch }: AttemptKey,
  { seed }: Pick<VideoRequest, 'seed'>,
): string => `wan-supervisor job ${jobId} seed ${seed} epoch ${epoch}`

const makerPattern = /^wan-supervisor job (\S+)(?: seed \d+ epoch (\d{1,15})$)?/

/** The attempt that made a file. Files of earlier versions name the job alone. */
export type Maker = Readonly<{ jobId: JobId; epoch?: Epoch }>

/** Undefined when the comment of a file names no job, or it is no MP4. */
export async function makerOf(handle: FileHandle, size: number): Promise<Maker | undefined> {
  const movie = await readMovieBox(handle, size)
  const [, job, epoch] = makerPattern.exec((movie && commentIn(movie)) ?? '') ?? []
  const jobId = v.safeParse(JobId, job)
  if (!jobId.success) return undefined
  return { jobId: jobId.output, ...(epoch !== undefined && { epoch: Number(epoch) }) }
}

/** The index of a video with 10,000 frames takes about 200 KB. */
const maxMovieBytes = 4 * 1024 ** 2

/** Boxes before it: `ftyp`, perhaps `free` and the frames. */
const maxBoxes = 16

async function readMovieBox(handle: FileHandle, size: number): Promise<Buffer | undefined> {
  let at = 0
  for (let count = 0; count < maxBoxes && at + headBytes <= size; count++) {
    const box = boxAt(await readPart(handle, at, Math.min(longHeadBytes, size - at)), 0, size - at)
    if (!box) return undefined
    const { type, from, to } = box
    if (type === 'moov') {
      return to - from > maxMovieBytes ? undefined : readPart(handle, at + from, to - from)
    }
    at += to
  }
  return undefined
}

/** `moov.udta.meta.ilst.©cmt.data`, as ffmpeg writes it. */
function commentIn(movie: Buffer): string | undefined {
  const userData = childOf(movie, 'udta')
  const meta = userData && childOf(userData, 'meta')
  // Four bytes of version and flags precede its children.
  const list = meta && childOf(meta.subarray(4), 'ilst')
  const comment = list && childOf(list, '\u00a9cmt')
  const data = comment && childOf(comment, 'data')
  return data?.subarray(8).toString('utf8')
}

function childOf(parent: Buffer, type: string): Buffer | undefined {
  for (let at = 0; at + headBytes <= parent.length; ) {
    const box = boxAt(parent, at, parent.length - at)
    if (!box) return undefined
    if (box.type === type) return parent.subarray(at + box.from, at + box.to)
    at += box.to
  }
  return undefined
}

const headBytes = 8
const longHeadBytes = 16

type Box = Readonly<{ type: string; from: number; to: number }>

/** Where the content of a box is, counted from its start. Undefined for a box without a valid length. */
function boxAt(bytes: Buffer, at: number, left: number): Box | undefined {
  if (bytes.length - at < headBytes) return undefined
  const type = bytes.toString('latin1', at + 4, at + headBytes)
  const length = bytes.readUInt32BE(at)
  if (length === 1) {
    if (bytes.length - at < longHeadBytes) return undefined
    const long = bytes.readBigUInt64BE(at + headBytes)
    if (long < longHeadBytes || long > left) return undefined
    return { type, from: longHeadBytes, to: Number(long) }
  }
  const to = length === 0 ? left : length
  return to < headBytes || to > left ? undefined : { type, from: headBytes, to }
}

/** As many bytes as there are, in case the file was cut meanwhile. */
async function readPart(handle: FileHandle, position: number, length: number): Promise<Buffer> {
  const buffer = Buffer.alloc(length)
  let read = 0
  while (read < length) {
    const { bytesRead } = await handle.read(buffer, read, length - read, position + read)
    if (bytesRead === 0) break
    read += bytesRead
  }
  return buffer.subarray(0, read)
}
