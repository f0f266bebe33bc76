import { createHash } from 'node:crypto'
import type { VideoDraft } from './job.ts'

/** Equal for requests that ask for the same: the same fields, and the same bytes of an image. */
export function fingerprintOf({ image, ...fields }: VideoDraft): string {
  const told = Object.entries({ ...fields, image: image?.sha256 })
    .filter(([, value]) => value !== undefined)
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
  return createHash('sha256').update(JSON.stringify(told)).digest('base64url')
}
