import { createHmac, timingSafeEqual } from 'node:crypto'
import { RefusalError } from '../../domain/errors.ts'
import type { JobId, WithFile } from '../../domain/job.ts'
import { wallNow } from '../../domain/time.ts'

export type FileLinks = {
  urlOf(job: WithFile): string
  /** A picture of the video, for those who may have the video. */
  thumbnailOf(job: WithFile): string
  /** To whose file this is a link; refuses one that is over, or was never ours. */
  jobOf(query: Readonly<Record<string, string>>): JobId
}

export type FileLinksOptions = Readonly<{
  /** Put before each link when the service sits behind a proxy. */
  baseUrl: string
  /** What links are signed with; absent: nobody is asked for a token, so none is needed in its place. */
  key: Buffer | undefined
  /** How long a link may be used at most. */
  lifeS: number
}>

/**
 * Links to files, good for those who cannot send a header, like the source of a `<video>`. One is to
 * the file of one job, whatever its name comes to be given to. For a quarter of its life it stays
 * the same, so that a page that is drawn anew does not load its videos anew.
 */
export function createFileLinks({ baseUrl, key, lifeS }: FileLinksOptions): FileLinks {
  const stepS = Math.max(1, Math.floor(lifeS / 4))

  const signed = (path: string, id: JobId): string => {
    const url = `${baseUrl}${path}`
    if (!key) return url
    const expires = String(Math.floor((wallNow() / 1000 + lifeS) / stepS) * stepS)
    const signature = sign(key, id, expires).toString('base64url')
    return `${url}?${new URLSearchParams({ job: id, expires, signature })}`
  }

  return {
    urlOf: ({ id, state: { filename } }) => signed(`/files/${encodeURIComponent(filename)}`, id),
    thumbnailOf: ({ id }) => signed(`/jobs/${id}/thumbnail`, id),

    jobOf({ job = '', expires = '', signature = '' }) {
      const given = Buffer.from(signature, 'base64url')
      const right = key && sign(key, job, expires)
      if (given.length !== right?.length || !timingSafeEqual(given, right)) {
        throw new RefusalError('link_invalid', 'This link is not one of ours, or was changed.')
      }
      if (Number(expires) * 1000 > wallNow()) return job as JobId
      throw new RefusalError('link_expired', 'This link is over; the job’s status has a new one.')
    },
  }
}

/** Says what it is for, so that no signature made for anything else will ever do. */
const sign = (key: Buffer, job: string, expires: string): Buffer =>
  createHmac('sha256', key).update(`file of ${job} until ${expires}`).digest()
