import { readdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import pLimit from 'p-limit'
import { DiskFullError } from '../../domain/errors.ts'
import type { JobId, VideoFacts } from '../../domain/job.ts'
import type { VideoFile } from '../../domain/video-file.ts'
import type { DataDirectory } from '../disk/data-directory.ts'
import { hasNoRoom } from '../disk/free-space.ts'
import { isRegularFile } from '../disk/regular-file.ts'
import { runTool, type StartTool } from '../processes/tool.ts'
import { firstVideo, videoInput } from './video-input.ts'

/** A picture made from a finished video: one frame of it, or many in a grid. */
export const previewKinds = ['thumbnail', 'spritesheet'] as const
export type PreviewKind = (typeof previewKinds)[number]

export type Previews = {
  /** The name of the file in `previewsDir`; made when it is first asked for, if the video is there. */
  of(video: VideoFile, kind: PreviewKind): Promise<string>
}

/** They take a second at most: conversions, which somebody waits for longer, go on beside one. */
const atOnce = 1
const timeoutMs = 60_000

const unfinishedPrefix = '.unfinished.'

const spriteWidth = 320
const spriteColumns = 4
const maxSprites = 16

/**
 * Made on demand and kept: no job waits for pictures that perhaps nobody will ask for, and none fails
 * for want of them. Whoever asks for one that is being made waits for the same one.
 */
export function createPreviews(
  data: Pick<DataDirectory, 'resultsDir' | 'previewsDir'>,
  start: StartTool,
): Previews {
  const inTurn = pLimit(atOnce)
  const beingMade = new Map<string, Promise<void>>()

  return {
    async of(video, kind) {
      const name = nameOf(video.jobId, kind)
      if (!(await isRegularFile(join(data.previewsDir, name)))) await makeOnce(name, video, kind)
      return name
    },
  }

  function makeOnce(name: string, video: VideoFile, kind: PreviewKind): Promise<void> {
    const present = beingMade.get(name)
    if (present) return present
    const making = inTurn(() => make(name, video, kind)).finally(() => beingMade.delete(name))
    beingMade.set(name, making)
    return making
  }

  async function make(name: string, video: VideoFile, kind: PreviewKind): Promise<void> {
    const from = join(data.resultsDir, video.filename)
    const to = join(data.previewsDir, name)
    // What is no file, a FIFO above all, would hold up the previews of all others.
    if (!(await isRegularFile(from))) return
    const unfinished = join(data.previewsDir, `${unfinishedPrefix}${crypto.randomUUID()}`)
    const picture =
      kind === 'thumbnail' ? thumbnailOf(from, video.facts) : spritesheetOf(from, video.facts)
    const args = [
      ...['-nostdin', '-hide_banner', '-v', 'error', '-y', ...picture],
      ...[
        '-map',
        `0:${firstVideo}`,
        '-an',
        '-frames:v',
        '1',
        '-c:v',
        'libwebp',
        '-quality',
        '80',
        '-f',
        'webp',
      ],
      `file:${unfinished}`,
    ]
    try {
      await runTool(['ffmpeg', ...args], { timeoutMs, start })
      await rename(unfinished, to)
      // Deleted meanwhile: then this came too late to be deleted with it.
      if (!(await isRegularFile(from))) await rm(to, { force: true })
    } catch (error) {
      await rm(unfinished, { force: true })
      // Deleted before it could be read: that there is no picture is said by whoever looks for it.
      if (!(await isRegularFile(from))) return
      if (!hasNoRoom(data.previewsDir)) throw error
      throw new DiskFullError('there is no room for a preview', { cause: error })
    }
  }
}

/** Of a former life, with what it was about to make: to be made anew when somebody asks. */
export async function forgetPreviews({
  previewsDir,
}: Pick<DataDirectory, 'previewsDir'>): Promise<void> {
  for (const name of await readdir(previewsDir)) {
    if (name.endsWith('.webp') || name.startsWith(unfinishedPrefix)) {
      await rm(join(previewsDir, name), { recursive: true, force: true })
    }
  }
}

export async function removePreviews(
  { previewsDir }: Pick<DataDirectory, 'previewsDir'>,
  jobId: JobId,
): Promise<void> {
  for (const kind of previewKinds) await rm(join(previewsDir, nameOf(jobId, kind)), { force: true })
}

/** The middle: many clips begin with what is not yet what they show. */
const thumbnailOf = (from: string, { durationSeconds }: VideoFacts): string[] => [
  ...['-ss', (durationSeconds / 2).toFixed(3), ...videoInput(from)],
]

/** Frames at even distances, row by row. */
function spritesheetOf(from: string, { frames }: VideoFacts): string[] {
  const count = Math.min(maxSprites, frames)
  const columns = Math.min(spriteColumns, count)
  const grid = `${columns}x${Math.ceil(count / columns)}`
  const every = Math.floor(frames / count)
  const filter = `select=not(mod(n\\,${every})),scale=${spriteWidth}:-2,tile=${grid}`
  return [...videoInput(from), '-vf', filter]
}

const nameOf = (jobId: JobId, kind: PreviewKind): string => `${jobId}.${kind}.webp`
