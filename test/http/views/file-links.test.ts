import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { RefusalError } from '../../../src/domain/errors.ts'
import type { WithFile } from '../../../src/domain/job.ts'
import { createFileLinks } from '../../../src/http/views/file-links.ts'
import { aQueuedJob, aVideo, gpu0, jobId, midnight } from '../../support/jobs.ts'

const job: WithFile = {
  ...aQueuedJob(1),
  state: {
    status: 'success',
    gpu: gpu0,
    filename: 'Füchse 1.mp4',
    startedAt: midnight,
    endedAt: midnight,
    video: aVideo(),
  },
}
const lifeS = 3_600
const linksWith = (key: Buffer | undefined) =>
  createFileLinks({ baseUrl: 'https://videos.example.org', key, lifeS })
const key = Buffer.alloc(32, 1)
const links = linksWith(key)

const verdictOn = (url: string, by = links) => {
  try {
    return by.jobOf(Object.fromEntries(new URL(url).searchParams))
  } catch (error) {
    return error instanceof RefusalError ? error.code : error
  }
}

beforeEach(() => vi.useFakeTimers({ now: midnight }))
afterEach(() => vi.useRealTimers())

describe('a link to a file', () => {
  it('begins with the address of the file', () => {
    const path = 'https://videos.example.org/files/F%C3%BCchse%201.mp4'
    expect(links.urlOf(job).split('?')[0]).toBe(path)
    expect(linksWith(undefined).urlOf(job)).toBe(path)
  })

  it('stays the same for a quarter of its life', () => {
    const first = links.urlOf(job)
    vi.advanceTimersByTime(899_000)
    expect(links.urlOf(job)).toBe(first)
    vi.advanceTimersByTime(1_000)
    expect(links.urlOf(job)).not.toBe(first)
  })

  it.each([0, 1, 450, 899])(
    'lives for three quarters of its life to all of it: made at %i s',
    (at) => {
      vi.advanceTimersByTime(at * 1_000)
      const link = links.urlOf(job)
      vi.advanceTimersByTime(lifeS * 750 - 1)
      expect(verdictOn(link)).toBe(jobId(1))
      vi.advanceTimersByTime(lifeS * 250 + 1)
      expect(verdictOn(link)).toBe('link_expired')
    },
  )

  it('is good with the key that it was signed with only', () => {
    const link = links.urlOf(job)
    expect(verdictOn(link, linksWith(Buffer.alloc(32, 2)))).toBe('link_invalid')
    expect(verdictOn(link, linksWith(undefined))).toBe('link_invalid')
  })

  it('is not good for another job, another time, or with any bit of its signature changed', () => {
    const changed = (name: string, value: string) => {
      const url = new URL(links.urlOf(job))
      url.searchParams.set(name, value)
      return String(url)
    }
    expect(verdictOn(changed('job', jobId(2)))).toBe('link_invalid')
    expect(verdictOn(changed('expires', '9'.repeat(12)))).toBe('link_invalid')
    expect(verdictOn(changed('expires', 'Infinity'))).toBe('link_invalid')
    const signature = Buffer.from(
      new URL(links.urlOf(job)).searchParams.get('signature') ?? '',
      'base64url',
    )
    for (let bit = 0; bit < signature.length * 8; bit++) {
      const other = Buffer.from(signature)
      other[bit >> 3] = (other[bit >> 3] ?? 0) ^ (1 << (bit & 7))
      expect(verdictOn(changed('signature', other.toString('base64url')))).toBe('link_invalid')
    }
  })
})
