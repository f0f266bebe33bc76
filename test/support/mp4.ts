/** Files that look like published videos to all that reads no frames. */
import { randomBytes } from 'node:crypto'
import type { JobId } from '../../src/domain/job.ts'
import { makerComment } from '../../src/infra/media/video-signature.ts'

/** A box of an MP4 file. */
export function box(type: string, ...content: readonly Buffer[]): Buffer {
  const length = Buffer.alloc(4)
  length.writeUInt32BE(8 + content.reduce((sum, { length }) => sum + length, 0))
  return Buffer.concat([length, Buffer.from(type, 'latin1'), ...content])
}

/** An index with this comment, as ffmpeg writes it. */
export function movieWith(comment: string): Buffer {
  const data = box('data', Buffer.from([0, 0, 0, 1, 0, 0, 0, 0]), Buffer.from(comment))
  const list = box('ilst', box('\u00a9too', box('data', Buffer.alloc(8))), box('\u00a9cmt', data))
  const meta = box('meta', Buffer.alloc(4), box('hdlr', Buffer.alloc(25)), list)
  return box('moov', box('mvhd', Buffer.alloc(100)), box('udta', meta))
}

/** A published video of a job with so many random bytes in the place of frames. */
export const aFileOf = (jobId: JobId, bytes = 1_000, epoch = 1): Buffer =>
  Buffer.concat([
    box('ftyp', Buffer.from('isom')),
    movieWith(makerComment({ jobId, epoch }, { seed: 7 })),
    box('mdat', randomBytes(bytes)),
  ])
