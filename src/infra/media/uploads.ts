import { createHash } from 'node:crypto'
import { open, rm } from 'node:fs/promises'
import type { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { imageSize } from 'image-size'
import pLimit from 'p-limit'
import { DiskFullError, RefusalError } from '../../domain/errors.ts'
import type { ImageType, UploadedImage } from '../../domain/job.ts'
import { type DataDirectory, uploadOf } from '../disk/data-directory.ts'
import type { StartTool } from '../processes/tool.ts'
import { isDiskFull } from '../store/sqlite/sqlite-errors.ts'
import { decodeImage, maxPixels } from './image-decoder.ts'

export const maxImageBytes = 20 * 1024 * 1024

const minSide = 16
/** Of a narrower one the model would have to make a video of no width. */
const maxAspect = 4

/** Where the size stands: behind all that a camera puts before it. */
const headBytes = 512 * 1024

/** A small file can be a picture that fills hundreds of megabytes. */
const decodesAtOnce = 2

/** Images on their way in: looked at while they come, on disk when they are there. */
export function createUploads(data: Pick<DataDirectory, 'workDir'>, start: StartTool) {
  const inTurn = pLimit(decodesAtOnce)

  return {
    /** Rejects with a refusal that names `field` as soon as it cannot become an image any more. */
    async receive(stream: Readable, field: string): Promise<UploadedImage> {
      const uploadId = crypto.randomUUID()
      const path = uploadOf(data, uploadId)
      const inspector = createInspector(field)
      try {
        // It is there before anything can fail: what is made behind a removal would stay.
        const file = await open(path, 'wx')
        await pipeline(stream, inspector.pass, file.createWriteStream({ flush: true }))
        const image = inspector.result()
        await inTurn(() => assertDecodable(path, image, field, start))
        return { uploadId, ...image }
      } catch (error) {
        await rm(path, { force: true })
        if (isDiskFull(error)) throw new DiskFullError('no room for an image', { cause: error })
        throw error
      }
    },

    /** Of one that no job has taken; harmless if one has. */
    discard: (uploadId: string) => rm(uploadOf(data, uploadId), { force: true }),
  }
}

function createInspector(field: string) {
  const hash = createHash('sha256')
  let head = Buffer.alloc(0)
  /** What has come since: it is looked at when it has doubled, however small the pieces are. */
  let unseen: Buffer[] = []
  let lookAt = signatureBytes
  let bytes = 0
  let size: Readonly<{ width: number; height: number }> | undefined

  return {
    async *pass(source: AsyncIterable<Buffer>) {
      for await (const chunk of source) {
        bytes += chunk.length
        if (bytes > maxImageBytes) {
          throw new RefusalError(
            'body_too_large',
            `${field}: must be at most ${maxImageBytes} bytes`,
            { field },
          )
        }
        hash.update(chunk)
        if (size === undefined && head.length < headBytes) {
          unseen.push(chunk)
          if (bytes >= lookAt) look()
        }
        yield chunk
      }
    },

    result() {
      if (size === undefined) look()
      const type = typeOf(head)
      if (!type) throw notAnImage(field)
      if (!size) throw refusal(field, 'must be an image whose size can be read')
      if (type === 'webp' && isAnimatedWebP(head)) {
        throw refusal(field, 'must be a still image, not an animation')
      }
      return { type, ...size, bytes, sha256: hash.digest('hex') }
    },
  }

  function look(): void {
    head = Buffer.concat([head, ...unseen])
    unseen = []
    lookAt = 2 * bytes
    if (!typeOf(head)) throw notAnImage(field)
    const { width, height } = measure(head) ?? {}
    if (width === undefined || height === undefined) return
    assertUsable(field, width, height)
    size = { width, height }
  }
}

const signatureBytes = 16

/** What a file is called says nothing about what it is. */
function typeOf(head: Buffer): ImageType | undefined {
  if (head.subarray(0, 8).equals(Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'))) return 'png'
  if (head.subarray(0, 3).equals(Buffer.from('\xff\xd8\xff', 'latin1'))) return 'jpeg'
  const isWebp =
    head.toString('latin1', 0, 4) === 'RIFF' && head.toString('latin1', 8, 12) === 'WEBP'
  return isWebp ? 'webp' : undefined
}

/** As the flags of its first chunk say, if that is one that has flags. */
const isAnimatedWebP = (head: Buffer): boolean =>
  head.toString('latin1', 12, 16) === 'VP8X' && ((head[20] ?? 0) & 0x02) !== 0

/** Undefined as long as too little of it is there. */
function measure(head: Buffer): { width: number; height: number } | undefined {
  try {
    return imageSize(head)
  } catch {
    return undefined
  }
}

function assertUsable(field: string, width: number, height: number): void {
  if (width * height > maxPixels) {
    throw refusal(field, `must have at most ${maxPixels} pixels, not ${width}x${height}`)
  }
  if (Math.min(width, height) < minSide) {
    throw refusal(field, `must be at least ${minSide} pixels wide and high`)
  }
  if (Math.max(width / height, height / width) > maxAspect) {
    throw refusal(field, `must be at most ${maxAspect} times as wide as high, or as high as wide`)
  }
}

/** A cut-off image would fail only when the model is loaded, minutes later. */
async function assertDecodable(
  path: string,
  { type, width, height }: Pick<UploadedImage, 'type' | 'width' | 'height'>,
  field: string,
  start: StartTool,
): Promise<void> {
  const decoded = await decodeImage(path, type, start)
  switch (decoded.how) {
    case 'undecodable':
      throw refusal(field, 'must be a whole image; this one cannot be decoded')
    case 'slow':
      throw refusal(
        field,
        `must be decoded within ${decoded.seconds} s; save it again in an image editor, or make it smaller`,
      )
    case 'unknown':
      throw new RefusalError(
        'service_busy',
        `${field}: no image can be checked now (${decoded.why}). Try again later; GET /ready says what is wrong.`,
      )
    case 'decoded':
      if (decoded.width === width && decoded.height === height) return
      throw refusal(
        field,
        `must have the size that its header names; it names ${width}x${height}, and the picture is ${decoded.width}x${decoded.height}`,
      )
  }
}

const notAnImage = (field: string): RefusalError =>
  refusal(field, 'must be a PNG, JPEG or WebP image')

const refusal = (field: string, rule: string): RefusalError =>
  new RefusalError('invalid_request', `${field}: ${rule}`, { field })
