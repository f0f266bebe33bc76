/** Videos that would have ffmpeg read other files, if it were left to itself. */
import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'

/** An MP4 as a generation leaves it: its index comes last. */
export function aVideo(path: string, { size = '1280x704', frames = 5 } = {}): void {
  const source = ['-f', 'lavfi', '-i', `testsrc=s=${size}:r=24`, '-frames:v', String(frames)]
  const codec = ['-c:v', 'libx264', '-preset', 'ultrafast', '-pix_fmt', 'yuv420p']
  execFileSync('ffmpeg', ['-v', 'error', '-y', ...source, ...codec, '-f', 'mp4', path])
}

export const playlistOf = (other: string): string =>
  ['#EXTM3U', '#EXT-X-TARGETDURATION:1', '#EXTINF:1,', other, '#EXT-X-ENDLIST', ''].join('\n')

/** A QuickTime file whose data is in another file: its data reference is an alias record. */
export function aReferenceTo(other: string, path: string): void {
  aVideo(path)
  const movie = execFileSync('cat', [path])
  const at = movie.indexOf('dref') - 4
  const oldLength = movie.readUInt32BE(at)
  const entry = aliasTo(other)
  const reference = Buffer.alloc(16)
  reference.writeUInt32BE(16 + entry.length, 0)
  reference.write('dref', 4, 'latin1')
  reference.writeUInt32BE(1, 12)
  const longer = Buffer.concat([
    movie.subarray(0, at),
    reference,
    entry,
    movie.subarray(at + oldLength),
  ])
  const more = reference.length + entry.length - oldLength
  for (const box of ['moov', 'trak', 'mdia', 'minf', 'dinf']) {
    const begin = longer.indexOf(box) - 4
    longer.writeUInt32BE(longer.readUInt32BE(begin) + more, begin)
  }
  longer.write('qt  ', 8, 'latin1')
  writeFileSync(path, longer)
}

function aliasTo(path: string): Buffer {
  const text = Buffer.from(path.length % 2 === 0 ? path : `${path}\0`)
  const absolutePath = Buffer.alloc(4)
  absolutePath.writeUInt16BE(2, 0)
  absolutePath.writeUInt16BE(text.length, 2)
  const record = Buffer.alloc(150)
  const body = Buffer.concat([record, absolutePath, text, Buffer.from([0xff, 0xff, 0, 0])])
  const entry = Buffer.alloc(12)
  entry.writeUInt32BE(entry.length + body.length, 0)
  entry.write('alis', 4, 'latin1')
  return Buffer.concat([entry, body])
}
