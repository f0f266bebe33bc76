import { createHash } from 'node:crypto'
import { open, rm } from 'node:fs/promises'
import type { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { imageSize } from 'image-size'
import pLimit from 'p-limit'
import { DiskFullError, RefusalError } from '../../domain/errors.ts'
import type { ImageType, UploadedImage } from '../../domain/job.ts'
import { type DataDirectory, uploadOf } from '../disk/data-directory.ts'
import { runTool, type StartTool, ToolError } from '../processes/tool.ts'
import { isDiskFull } from '../store/sqlite-errors.ts'

export const maxImageBytes = 20 * 1024 * 1024

/** Well below where Pillow, which reads it for the model, takes an image for an attack. */
const maxPixels = 50_000_000
const minSide = 16
/** Of a narrower one the model would have to make a video of no width. */
const maxAspect = 4

/** Where the size stands: behind all that a camera puts before it. */
const headBytes = 512 * 1024

/** A second look, by something that really reads it, takes a moment; what takes longer hangs. */
const decodeMs = 20_000
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
        await inTurn(() => assertReadable(path, image.type, field, start))
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
async function assertReadable(
  path: string,
  type: ImageType,
  field: string,
  start: StartTool,
): Promise<void> {
  const args = [
    ...['-nostdin', '-v', 'error', '-xerror', '-err_detect', 'explode', '-threads', '1'],
    ...['-protocol_whitelist', 'file', '-f', `${type}_pipe`, '-i', `file:${path}`],
    ...['-frames:v', '1', '-f', 'null', '-'],
  ]
  try {
    await runTool(['ffmpeg', ...args], { timeoutMs: decodeMs, start })
  } catch (error) {
    if (!(error instanceof ToolError) || error.how !== 'failed') throw error
    throw refusal(field, 'must be a whole image; this one cannot be decoded')
  }
}

const notAnImage = (field: string): RefusalError =>
  refusal(field, 'must be a PNG, JPEG or WebP image')

const refusal = (field: string, rule: string): RefusalError =>
  new RefusalError('invalid_request', `${field}: ${rule}`, { field })
