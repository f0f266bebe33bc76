/** The video in a file, without what the file says around it. */
import { execFileSync } from 'node:child_process'

/** The hash of the compressed video. The file around it has the id of the job in it. */
export function streamHash(file: string): string {
  const asWritten = ['-map', '0:v', '-c', 'copy', '-bsf:v', 'h264_mp4toannexb']
  const args = ['-v', 'error', '-i', file, ...asWritten, '-f', 'hash', '-hash', 'sha256', '-']
  return execFileSync('ffmpeg', args, { encoding: 'utf8' }).trim()
}
