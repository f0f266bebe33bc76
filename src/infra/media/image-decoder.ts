/**
 * Decodes an image as a whole, in a process of its own with narrow limits. A header can name any size,
 * and a format has room for several headers: what counts is the size of the decoded picture.
 */
import type { ImageType } from '../../domain/job.ts'
import type { Dimensions } from '../../domain/wan-tasks.ts'
import { runTool, type StartTool, ToolError } from '../processes/tool.ts'

export type Decoded = Readonly<
  | ({ how: 'decoded' } & Dimensions)
  | { how: 'undecodable' }
  | { how: 'slow'; seconds: number }
  /** The image is not to blame. */
  | { how: 'unknown'; why: string }
>

/** Well below where Pillow, which reads it for the model, takes an image for an attack. */
export const maxPixels = 50_000_000

/** As many pixels of four channels of 16 bits, several times over: a decoder keeps more than the picture. */
const maxBytes = 1.5 * 1024 ** 3

/** The largest single block: the picture itself. Compressed texts can unfold to gigabytes. */
const maxBlockBytes = 9 * maxPixels

/** The largest that are allowed take two seconds. */
const decodeSeconds = 20

/** A decoder that is killed by somebody else says nothing about the image. */
const maxTries = 3

/** How a decoder ends that stumbles over the image; all other signals come from outside. */
const crashes = ['SIGSEGV', 'SIGABRT', 'SIGBUS', 'SIGFPE', 'SIGILL', 'SIGTRAP']

export async function decodeImage(
  path: string,
  type: ImageType,
  start: StartTool,
): Promise<Decoded> {
  for (let tries = 1; ; tries++) {
    try {
      const how = { timeoutMs: decodeSeconds * 1000, maxBytes, start }
      return resultOf(await runTool(['ffmpeg', ...argumentsFor(path, type)], how))
    } catch (error) {
      if (!(error instanceof ToolError)) throw error
      const verdict = verdictOf(error)
      if (verdict.how !== 'unknown' || error.how === 'prevented' || tries === maxTries) {
        return verdict
      }
    }
  }
}

/** The first picture of the file, in one thread, in nothing but its own format and without turning it. */
const argumentsFor = (path: string, type: ImageType): string[] => [
  ...['-nostdin', '-v', 'error', '-xerror', '-max_alloc', String(maxBlockBytes)],
  ...['-err_detect', 'explode', '-threads', '1', '-max_pixels', String(maxPixels)],
  ...['-protocol_whitelist', 'file', '-f', `${type}_pipe`, '-noautorotate', '-i', `file:${path}`],
  // In grey, a check sum needs no second copy of the picture in all its colours.
  ...['-map', '0:v:0', '-frames:v', '1', '-vf', 'format=gray', '-f', 'framecrc', '-'],
]

function resultOf(output: string): Decoded {
  const [, width, height] = /^#dimensions 0: (\d+)x(\d+)$/m.exec(output) ?? []
  const hasPicture = /^0,/m.test(output)
  return hasPicture && width !== undefined && height !== undefined
    ? { how: 'decoded', width: Number(width), height: Number(height) }
    : { how: 'undecodable' }
}

function verdictOf({ how, end, message }: ToolError): Decoded {
  if (end?.how !== 'ended') return { how: 'unknown', why: message }
  if (how === 'prevented') return { how: 'slow', seconds: decodeSeconds }
  if (how === 'failed' || crashes.includes(end.signal ?? '')) return { how: 'undecodable' }
  return { how: 'unknown', why: `ffmpeg was ended by ${end.signal}` }
}
