import { link, readdir, rename, rm, stat, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import * as v from 'valibot'
import type { VideoFiles } from '../../actors/archive/archive-ports.ts'
import type { Conversion, VideoTools } from '../../actors/conversion/conversion-ports.ts'
import type { ResultFiles } from '../../actors/queue/queue-ports.ts'
import { environmentFaultOf } from '../../domain/failures.ts'
import type { AttemptKey, VideoFacts } from '../../domain/job.ts'
import { type Dimensions, dimensions } from '../../domain/wan-tasks.ts'
import { attemptDirectory, type DataDirectory, sourceVideoPath } from '../disk/data-directory.ts'
import { hasNoRoom } from '../disk/free-space.ts'
import { isRegularFile } from '../disk/regular-file.ts'
import { sync } from '../disk/sync.ts'
import { attemptCookie, killStrays } from '../processes/strays.ts'
import { runTool, type StartTool, ToolError } from '../processes/tool.ts'
import type { Downloads } from './downloads.ts'
import { removePreviews } from './previews.ts'
import { firstVideo, maxProbeBytes, videoInput } from './video-input.ts'

export type VideoToolsOptions = Readonly<{
  data: DataDirectory
  /** How 704 becomes 720: bars of 8 pixels on two sides, or a slightly stretched picture. */
  fit: 'pad' | 'scale'
  start: StartTool
}>

/** A clip of some seconds takes some seconds; what takes minutes hangs. */
const probeMs = 60_000
const encodeMs = 15 * 60_000

/** ffprobe, ffmpeg and the way into `RESULTS_DIR`. */
export function createVideoTools({ data, fit, start }: VideoToolsOptions): VideoTools {
  /** Each run of ffmpeg writes to a name of its own: one that outlived its service may still write. */
  const unfinished = new Map<string, string>()

  return {
    async inspect(attempt) {
      const path = sourceVideoPath(attemptDirectory(data, attempt))
      if (!(await isRegularFile(path))) return { how: 'missing' }
      try {
        return { how: 'readable', facts: (await probe(path, start)).facts }
      } catch (error) {
        if (!(error instanceof ToolError) || error.how !== 'failed') throw error
        if (environmentFaultOf(error)) throw error
        return { how: 'unreadable', why: error.message }
      }
    },

    async encode(conversion, source, signal) {
      const from = sourceVideoPath(attemptDirectory(data, conversion))
      const to = join(data.resultsDir, `${namePrefix(conversion)}${crypto.randomUUID()}.mp4`)
      unfinished.set(namePrefix(conversion), to)
      await killStrays(conversion)
      const filter = filterFor(source, dimensions(conversion.request.size), fit)
      const codec = filter
        ? [
            '-vf',
            filter,
            '-c:v',
            'libx264',
            '-preset',
            'medium',
            '-crf',
            '16',
            '-pix_fmt',
            'yuv420p',
          ]
        : ['-c:v', 'copy']
      const args = [
        ...['-nostdin', '-hide_banner', '-v', 'error', '-y', ...videoInput(from)],
        ...['-map', `0:${firstVideo}`, '-map', '0:a?', ...codec, '-c:a', 'copy'],
        ...['-metadata', `comment=${signatureOf(conversion)}`],
        ...['-movflags', '+faststart', '-f', 'mp4', `file:${to}`],
      ]
      const env = { ...process.env, ...attemptCookie(conversion) }
      const how = { timeoutMs: encodeMs, signal, env, start }
      try {
        await runTool(['ffmpeg', ...args], how)
        await sync(to)
        return (await probe(to, start)).facts
      } catch (error) {
        const isFull = hasNoRoom(data.resultsDir)
        // Another try writes to another name.
        await rm(to, { force: true }).catch(() => {})
        // ffmpeg does not always say so, or not last.
        if (!isFull) throw error
        const { message } = error as Error
        throw new ToolError(`no space left on device in RESULTS_DIR: ${message}`)
      }
    },

    /** Never over a file that is not this job's own, which a crash may have left here just so. */
    async publish(conversion) {
      const from = unfinished.get(namePrefix(conversion))
      if (from === undefined) throw new Error('nothing has been made that could be published')
      const to = join(data.resultsDir, conversion.filename)
      try {
        await link(from, to)
        await unlink(from)
      } catch (error) {
        if ((error as { code?: string }).code !== 'EEXIST') throw error
        const { comment } = await probe(to, start).catch(() => ({ comment: undefined }))
        if (comment !== signatureOf(conversion)) {
          throw new Error(`${conversion.filename} appeared in RESULTS_DIR and is not this job's.`, {
            cause: error,
          })
        }
        await rename(from, to)
      }
      await sync(data.resultsDir)
    },

    withdraw: ({ filename }) => rm(join(data.resultsDir, filename), { force: true }),
    async discard(attempt) {
      await killStrays(attempt)
      unfinished.delete(namePrefix(attempt))
      await removeUnfinished(data.resultsDir, namePrefix(attempt))
    },
  }
}

/** Finished files by name; the names have been checked when they were promised. */
export function createVideoFiles(
  data: Pick<DataDirectory, 'resultsDir' | 'previewsDir'>,
  { isInUse }: Pick<Downloads, 'isInUse'>,
): VideoFiles & ResultFiles {
  const { resultsDir } = data
  return {
    exists: (filename) =>
      stat(join(resultsDir, filename)).then(
        () => true,
        () => false,
      ),
    isInUse,
    async remove({ jobId, filename }) {
      await rm(join(resultsDir, filename), { force: true })
      await removePreviews(data, jobId)
    },
  }
}

/** Removes what conversions left that were cut off: all of it, or that of one attempt. */
export async function removeUnfinished(
  resultsDir: string,
  prefix = unfinishedPrefix,
): Promise<void> {
  const left = (await readdir(resultsDir)).filter((name) => name.startsWith(prefix))
  for (const name of left) await rm(join(resultsDir, name), { recursive: true, force: true })
}

/** Hidden, and no name that anybody can ask for: what it marks is not to be served. */
const unfinishedPrefix = '.unfinished.'

const namePrefix = ({ jobId, epoch }: AttemptKey): string => `${unfinishedPrefix}${jobId}.${epoch}.`

/** Written into the file, so that it can be told whose it is whatever its name. */
const signatureOf = ({ jobId, request }: Conversion): string =>
  `wan-supervisor job ${jobId} seed ${request.seed}`

const Probe = v.object({
  streams: v.tuple([
    v.object({
      width: v.number(),
      height: v.number(),
      nb_read_packets: v.pipe(v.string(), v.digits(), v.toNumber()),
    }),
  ]),
  format: v.object({
    duration: v.pipe(v.string(), v.toNumber()),
    size: v.pipe(v.string(), v.digits(), v.toNumber()),
    tags: v.optional(v.object({ comment: v.optional(v.string()) })),
  }),
})

/** Counts the frames that are there, not the ones that the header promises. */
async function probe(
  path: string,
  start: StartTool,
): Promise<{ facts: VideoFacts; comment: string | undefined }> {
  const entries = 'stream=width,height,nb_read_packets:format=duration,size:format_tags=comment'
  const what = ['-select_streams', firstVideo, '-count_packets', '-show_entries', entries]
  const args = ['-v', 'error', ...what, '-of', 'json', ...videoInput(path)]
  const how = { timeoutMs: probeMs, maxBytes: maxProbeBytes, start }
  const output = await runTool(['ffprobe', ...args], how)
  const result = v.safeParse(Probe, JSON.parse(output))
  if (!result.success) throw new ToolError('ffprobe found no video in it')
  const { streams, format } = result.output
  const [{ width, height, nb_read_packets: frames }] = streams
  const { duration: durationSeconds, size: bytes, tags } = format
  return { facts: { width, height, frames, durationSeconds, bytes }, comment: tags?.comment }
}

/** Nothing when the picture has its final size already. Offsets are even: colour is stored at half size. */
export function filterFor(
  source: Dimensions,
  target: Dimensions,
  fit: 'pad' | 'scale',
): string | undefined {
  const { width, height } = fitted(source, target, fit)
  const isScaled = width !== source.width || height !== source.height
  const isPadded = width !== target.width || height !== target.height
  const margin = (outer: number, inner: number) => 2 * Math.floor((outer - inner) / 4)
  const offsets = `${margin(target.width, width)}:${margin(target.height, height)}`
  const steps = [
    ...(isScaled ? [`scale=${width}:${height}:flags=lanczos`, 'setsar=1'] : []),
    ...(isPadded ? [`pad=${target.width}:${target.height}:${offsets}:black`] : []),
  ]
  return steps.length > 0 ? steps.join(',') : undefined
}

/** How much wider or narrower a picture may be made by `scale` before bars are the lesser evil. */
const maxStretch = 1.03

/** The picture within its bars. A video from an image may be higher or wider than what was asked for. */
function fitted(source: Dimensions, target: Dimensions, fit: 'pad' | 'scale'): Dimensions {
  const room = Math.min(target.width / source.width, target.height / source.height)
  if (room >= 1 && fit === 'pad') return source
  const stretch = (source.width * target.height) / (source.height * target.width)
  if (fit === 'scale' && Math.max(stretch, 1 / stretch) <= maxStretch) return target
  const even = (length: number) => 2 * Math.round((length * room) / 2)
  return { width: even(source.width), height: even(source.height) }
}
