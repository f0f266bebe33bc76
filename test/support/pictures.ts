/** Pictures as they are uploaded, and how finished videos look. */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

/** A picture in the format that the name's ending says; gives its path. */
export function aPicture(directory: string, name: string, size = '900x600'): string {
  const path = join(directory, name)
  const source = ['-f', 'lavfi', '-i', `testsrc=s=${size}`, '-frames:v', '1']
  execFileSync('ffmpeg', ['-v', 'error', '-y', ...source, path])
  return path
}

/** Says that it is a PNG of this size, and has nothing more to say. */
export function pngHeader(width: number, height: number): Buffer {
  const header = readFileSync(aPictureOnce()).subarray(0, 33)
  header.writeUInt32BE(width, 16)
  header.writeUInt32BE(height, 20)
  return header
}

let once: string | undefined
function aPictureOnce(): string {
  once ??= aPicture('/tmp', `wan-picture-${process.pid}.png`, '16x16')
  return once
}

/** Where the picture is in a frame that is black around it. */
export function pictureIn(file: string): {
  left: number
  top: number
  width: number
  height: number
} {
  const filter = ['-vf', 'cropdetect=limit=24:round=2:reset=0', '-f', 'null', '-']
  const out = execFileSync('sh', ['-c', '"$@" 2>&1', 'sh', 'ffmpeg', '-i', file, ...filter], {
    encoding: 'utf8',
  })
  const [, width, height, left, top] =
    [...out.matchAll(/crop=(\d+):(\d+):(\d+):(\d+)/g)].at(-1) ?? []
  return { left: Number(left), top: Number(top), width: Number(width), height: Number(height) }
}
