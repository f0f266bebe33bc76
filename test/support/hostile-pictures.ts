/** Pictures whose headers and content do not agree, made from real ones. */
import { crc32, deflateSync } from 'node:zlib'

type Size = Readonly<{ width: number; height: number }>

/** The segments of a JPEG before its first scan: marker, and bytes with marker and length. */
function* segmentsOf(jpeg: Buffer): Generator<{ marker: number; at: number; length: number }> {
  for (let at = 2; ; ) {
    const marker = jpeg.readUInt16BE(at)
    const length = 2 + jpeg.readUInt16BE(at + 2)
    yield { marker, at, length }
    if (marker === 0xffda) return
    at += length
  }
}

/** A JPEG with a second frame header, of another size, before or after its own. */
export function withSecondFrameHeader(jpeg: Buffer, size: Size, where: 'before' | 'after'): Buffer {
  const own = [...segmentsOf(jpeg)].find(({ marker }) => marker === 0xffc0 || marker === 0xffc2)
  if (!own) throw new Error('the JPEG has no frame header')
  const second = Buffer.from(jpeg.subarray(own.at, own.at + own.length))
  second.writeUInt16BE(size.height, 5)
  second.writeUInt16BE(size.width, 7)
  const at = where === 'before' ? own.at : own.at + own.length
  return Buffer.concat([jpeg.subarray(0, at), second, jpeg.subarray(at)])
}

/** A PNG with more chunks before its first chunk of data, or before its end. */
export function withChunks(png: Buffer, chunks: Buffer, before: 'IDAT' | 'IEND'): Buffer {
  const at = png.indexOf(before) - 4
  return Buffer.concat([png.subarray(0, at), chunks, png.subarray(at)])
}

export function pngChunk(type: string, data: Buffer): Buffer {
  const typed = Buffer.concat([Buffer.from(type, 'latin1'), data])
  const chunk = Buffer.alloc(typed.length + 8)
  chunk.writeUInt32BE(data.length, 0)
  typed.copy(chunk, 4)
  chunk.writeUInt32BE(crc32(typed), chunk.length - 4)
  return chunk
}

export function pngHeaderChunk({ width, height }: Size): Buffer {
  const data = Buffer.from([0, 0, 0, 0, 0, 0, 0, 0, 8, 2, 0, 0, 0])
  data.writeUInt32BE(width, 0)
  data.writeUInt32BE(height, 4)
  return pngChunk('IHDR', data)
}

/** Says that the file is an animation of so many frames. */
export function animationChunk(frames: number): Buffer {
  const data = Buffer.alloc(8)
  data.writeUInt32BE(frames, 0)
  return pngChunk('acTL', data)
}

/** Half a megabyte that unfolds to this many bytes of text. */
export const textBomb = (bytes: number): Buffer =>
  pngChunk('zTXt', Buffer.concat([Buffer.from('k\0\0'), deflateSync(Buffer.alloc(bytes, 'a'))]))

/** A simple WebP in an extended one, on a canvas of another size; `flags`: 2 says that it moves. */
export function onCanvas(webp: Buffer, { width, height }: Size, flags = 0): Buffer {
  const canvas = Buffer.alloc(18)
  canvas.write('VP8X', 0, 'latin1')
  canvas.writeUInt32LE(10, 4)
  canvas.writeUInt8(flags, 8)
  canvas.writeUIntLE(width - 1, 12, 3)
  canvas.writeUIntLE(height - 1, 15, 3)
  const whole = Buffer.concat([webp.subarray(0, 12), canvas, webp.subarray(12)])
  whole.writeUInt32LE(whole.length - 8, 4)
  return whole
}
