/** Names of video files: the ones we make, and which ones may be asked for. */
import * as v from 'valibot'
import type { GpuId, JobId, Timestamp } from './job.ts'

/** `result_gpu{gpu}_{YYYY-mm-dd_HH-MM-SS}_{short_id}.mp4`, in UTC; the short id is the id's end. */
export function defaultFilename(jobId: JobId, gpu: GpuId, at: Timestamp): string {
  const [date, time] = new Date(at).toISOString().slice(0, 19).split('T')
  return `result_gpu${gpu}_${date}_${time?.replaceAll(':', '-')}_${jobId.slice(-8)}.mp4`
}

const reserved = /^(con|prn|aux|nul|com\d|lpt\d)\./i
const ownPattern = /^result_gpu\d+_/i
const maxBytes = 200

/** A name somebody asks for: kept to the letter or refused, never changed behind their back. */
export const Filename = v.pipe(
  v.string('must be text'),
  v.nonEmpty('must not be empty; leave it out to get a name made for you'),
  v.check((name) => name.isWellFormed(), 'must be valid Unicode'),
  v.metadata({
    description: `At most ${maxBytes} bytes, not taken. Left out: made by the service.`,
    pattern: '^[\\p{L}\\p{N}][\\p{L}\\p{M}\\p{N} ._()-]*\\.mp4$',
  }),
  v.transform((name) => name.normalize('NFC')),
  v.check(
    (name) => Buffer.byteLength(name) <= maxBytes,
    `must be at most ${maxBytes} bytes long in UTF-8`,
  ),
  v.regex(/\.mp4$/, 'must end in .mp4'),
  v.regex(
    /^[\p{L}\p{N}][\p{L}\p{M}\p{N} ._()-]*$/u,
    'must start with a letter or digit and may hold only letters, digits, spaces and . _ - ( )',
  ),
  v.check((name) => !name.includes('..'), 'must not hold two dots in a row'),
  v.check((name) => !reserved.test(name), 'is a name that some systems reserve for devices'),
  v.check(
    (name) => !ownPattern.test(name),
    'must not begin like the names the service makes itself (result_gpu…)',
  ),
)

/**
 * Names with the same key are one file somewhere: on a file system that ignores case, that decomposes
 * accents, or both. Lower case after upper case makes ß equal to ss, ſ to s and ı to i; lower case before, ẞ to ß.
 */
export const nameKey = (filename: string): string =>
  filename.normalize('NFC').toLowerCase().toUpperCase().toLowerCase().normalize('NFC')

/** A name made by the service, which nobody can ask for. */
export const isOwnName = (filename: string): boolean => ownPattern.test(filename)
