/**
 * How ffmpeg and ffprobe are given a video that a generation has left. Its content is not trusted: left
 * to themselves they would take it for whatever it looks like, and a playlist names other files.
 */

/** Far more than any model makes; a frame of it fits into memory many times over. */
const maxPixels = 16_000_000

/** What probing takes of memory at most. A table in a file can claim any number of entries. */
export const maxProbeBytes = 1024 ** 3

/** Options before which other options of the input may stand, and after which others follow. */
export const videoInput = (path: string): string[] => [
  // Nothing but this file is opened, neither by a protocol nor by a reference in it.
  ...['-protocol_whitelist', 'file', '-f', 'mov', '-enable_drefs', '0', '-use_absolute_path', '0'],
  ...['-max_pixels', String(maxPixels), '-i', `file:${path}`],
]

/** The first video that is not a picture on a cover. */
export const firstVideo = 'V:0'
