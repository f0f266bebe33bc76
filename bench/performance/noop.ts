/** Generations that take no time, so that what is left is the time of what runs them. */
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { simulateCheckpoint } from '../../src/infra/installation/simulation.ts'

/** Itself, and no script that looks for it, as version managers have them. */
export const python = spawnSync('python3', ['-c', 'import sys; print(sys.executable)'], {
  encoding: 'utf8',
}).stdout.trim()

/** For WAN_DIR. */
export const noopDir = join(import.meta.dirname, 'noop')

/** Milliseconds since 1970, with a fraction. */
export type NoopRun = Readonly<{ gpu: string; began: number; ended: number }>

/** What the script wants to know; the video is made once. */
export function noopEnvironment(directory: string) {
  const video = join(directory, 'noop.mp4')
  if (!existsSync(video)) makeVideo(video)
  return {
    NOOP_VIDEO: video,
    NOOP_JOURNAL: join(directory, 'noop.journal'),
    // It reads none, but a service without one first lets a single job try.
    WAN_CKPT_DIR: simulateCheckpoint(join(directory, 'checkpoint')),
  }
}

export function noopRuns(directory: string): NoopRun[] {
  const path = join(directory, 'noop.journal')
  if (!existsSync(path)) return []
  return readFileSync(path, 'utf8')
    .split('\n')
    .filter(Boolean)
    .map((line) => {
      const [gpu = '', began, ended] = line.split(' ')
      return { gpu, began: Number(began) / 1e6, ended: Number(ended) / 1e6 }
    })
}

/** As `generate.py` would leave it for `noopRequest`. */
function makeVideo(path: string): void {
  const source = 'testsrc2=size=1280x704:rate=24'
  const { status, stderr } = spawnSync('ffmpeg', [
    ...['-v', 'error', '-f', 'lavfi', '-i', source, '-frames:v', '5', '-pix_fmt', 'yuv420p'],
    ...['-c:v', 'libx264', '-y', path],
  ])
  if (status !== 0) throw new Error(`ffmpeg: ${stderr}`)
}

/** `1280x704` is what comes out of the model: its conversion only copies. */
export const noopRequest = (size: '1280x720' | '1280x704', n: number) => ({
  prompt: `nothing ${n}`,
  size,
  frames: 5,
  steps: 1,
})
