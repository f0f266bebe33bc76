import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import * as v from 'valibot'
import type {
  ConversionOutput,
  SourceVideo,
  VideoTools,
} from '../../actors/conversion/conversion-ports.ts'
import { environmentFaultOf } from '../../domain/failures.ts'
import type { AttemptKey, VideoFacts } from '../../domain/job.ts'
import { type Dimensions, dimensions } from '../../domain/wan-tasks.ts'
import { attemptDirectory, type DataDirectory, sourceVideoPath } from '../disk/data-directory.ts'
import { hasNoRoom } from '../disk/free-space.ts'
import { isRegularFile, openRegularFile } from '../disk/regular-file.ts'
import type { ResultsDirectory } from '../disk/results-directory.ts'
import { sync } from '../disk/sync.ts'
import { attemptCookie, killStrays } from '../processes/strays.ts'
import { runTool, type StartTool, ToolError } from '../processes/tool.ts'
import { makerAt, prefixOf, publish, withdraw } from './publication.ts'
import { firstVideo, maxProbeBytes, videoInput } from './video-input.ts'
import { contentSignature, makerComment } from './video-signature.ts'

export type VideoToolsOptions = Readonly<{
  data: Pick<DataDirectory, 'workDir'>
  results: ResultsDirectory
  /**
   * Whether the job of an attempt still runs in that attempt; waits until it is known. Absent: no other node can have
   * the job.
   */
  isCurrent?: ((attempt: AttemptKey) => Promise<boolean>) | undefined
  /** How 704 becomes 720: bars of 8 pixels on two sides, or a slightly stretched picture. */
  fit: 'pad' | 'scale'
  start: StartTool
}>

/** A clip of some seconds takes some seconds; what takes minutes hangs. */
const probeMs = 60_000
const encodeMs = 15 * 60_000

/** ffprobe, ffmpeg and the way into `RESULTS_DIR`. */
export function createVideoTools({
  data,
  results,
  isCurrent,
  fit,
  start,
}: VideoToolsOptions): VideoTools {
  /** Each run of ffmpeg writes to a name of its own: one that outlived its service may still write. */
  const unfinished = new Map<string, string>()

  return {
    async inspect(conversion) {
      const attemptDir = attemptDirectory(data, conversion)
      const path = sourceVideoPath(attemptDir)
      if (!(await isRegularFile(path))) {
        // The shim wrote it before anybody knew of the end of the generation.
        const isAttemptThere = await isRegularFile(join(attemptDir, 'exit.json'))
        return isAttemptThere ? { how: 'missing' } : withoutAttempt(conversion)
      }
      try {
        return { how: 'readable', facts: await probe(path, conversion) }
      } catch (error) {
        if (!(error instanceof ToolError) || error.how !== 'failed') throw error
        if (environmentFaultOf(error)) throw error
        return { how: 'unreadable', why: error.message }
      }
    },

    async encode(conversion, source, signal) {
      const from = sourceVideoPath(attemptDirectory(data, conversion))
      const prefix = prefixOf(results, conversion)
      const to = join(results.path, `${prefix}${crypto.randomUUID()}.mp4`)
      await results.check()
      unfinished.set(prefix, to)
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
        ...['-metadata', `comment=${makerComment(conversion, conversion.request)}`],
        ...['-movflags', '+faststart', '-f', 'mp4', `file:${to}`],
      ]
      const how = { timeoutMs: encodeMs, signal, env: environmentFor(conversion), start }
      try {
        await runTool(['ffmpeg', ...args], how)
        await sync(to)
        return await finishedFacts(to, conversion)
      } catch (error) {
        const isFull = hasNoRoom(results.path)
        // Another try writes to another name.
        await rm(to, { force: true }).catch(() => {})
        // ffmpeg does not always say so, or not last.
        if (!isFull) throw error
        const { message } = error as Error
        throw new ToolError(`no space left on device in RESULTS_DIR: ${message}`)
      }
    },

    async publish(conversion, signal) {
      const from = unfinished.get(prefixOf(results, conversion))
      if (from === undefined) throw new Error('nothing has been made that could be published')
      if (isCurrent && !(await isCurrent(conversion))) {
        throw new Error(
          'The job does not run in this attempt any more, so the video is not published.',
        )
      }
      signal.throwIfAborted()
      await results.check()
      await publish(results, from, conversion)
    },

    async withdraw(output) {
      await killStrays(output)
      unfinished.delete(prefixOf(results, output))
      await withdraw(results, output)
    },
  }

  /** The job may have succeeded after the backup was made that the database comes from. */
  async function withoutAttempt(output: ConversionOutput): Promise<SourceVideo> {
    const { jobId, epoch, filename } = output
    const published = join(results.path, filename)
    const maker = await makerAt(published)
    if (maker?.jobId !== jobId || (maker.epoch ?? epoch) < epoch) return { how: 'lost' }
    return { how: 'published', facts: await finishedFacts(published, output) }
  }

  async function finishedFacts(path: string, attempt: AttemptKey): Promise<VideoFacts> {
    const facts = await probe(path, attempt)
    const file = await openRegularFile(path)
    if (file === 'missing' || file === 'other') throw new Error('a finished video disappeared')
    try {
      return { ...facts, signature: await contentSignature(file.handle, facts.bytes) }
    } finally {
      await file.handle.close()
    }
  }

  /** Counts the frames that are there, not the ones that the header promises. */
  async function probe(path: string, attempt: AttemptKey): Promise<VideoFacts> {
    const entries = 'stream=width,height,nb_read_packets:format=duration,size'
    const what = ['-select_streams', firstVideo, '-count_packets', '-show_entries', entries]
    const args = ['-v', 'error', ...what, '-of', 'json', ...videoInput(path)]
    const how = { timeoutMs: probeMs, maxBytes: maxProbeBytes, env: environmentFor(attempt), start }
    const output = await runTool(['ffprobe', ...args], how)
    const result = v.safeParse(Probe, JSON.parse(output))
    if (!result.success) throw new ToolError('ffprobe found no video in it')
    const { streams, format } = result.output
    const [{ width, height, nb_read_packets: frames }] = streams
    const { duration: durationSeconds, size: bytes } = format
    return { width, height, frames, durationSeconds, bytes }
  }
}

/** A tool that outlives the service is found by it, and killed with the attempt. */
const environmentFor = (attempt: AttemptKey) => ({ ...process.env, ...attemptCookie(attempt) })

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
  }),
})

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
