import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  contentSignature,
  makerComment,
  makerOf,
} from '../../../src/infra/media/video-signature.ts'
import { jobId } from '../../support/jobs.ts'
import { aFileOf, box, movieWith } from '../../support/mp4.ts'

let directory: string
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'video-signature-'))
})
afterAll(() => rmSync(directory, { recursive: true, force: true }))

describe('the owner of a video', () => {
  const own = movieWith(`wan-supervisor job ${jobId(1)} seed 7`)
  const head = box('ftyp', Buffer.from('isom'))
  const frames = box('mdat', Buffer.alloc(70_000))

  it.each<[what: string, content: Buffer, owner: string | undefined]>([
    ['the index is in front', Buffer.concat([head, own, frames]), jobId(1)],
    ['the index is at the end', Buffer.concat([head, frames, own]), jobId(1)],
    ['the frames have a long length', Buffer.concat([head, longBox('mdat', 9), own]), jobId(1)],
    ['the comment is another', Buffer.concat([head, movieWith('a fox')]), undefined],
    [
      'the comment names no job',
      Buffer.concat([movieWith('wan-supervisor job x seed 1')]),
      undefined,
    ],
    ['there is no comment', Buffer.concat([head, box('moov', box('mvhd'))]), undefined],
    ['it is cut within the index', Buffer.concat([head, own]).subarray(0, 200), undefined],
    ['it is empty', Buffer.alloc(0), undefined],
    ['it is text', Buffer.from('film'), undefined],
  ])('is found in its comment: %s', async (_what, content, owner) => {
    expect(await makerIn(content)).toEqual(owner && { jobId: owner })
  })

  it('is looked for in any bytes without an error', async () => {
    const anyBytes = fc.oneof(
      fc.uint8Array({ maxLength: 400 }).map((bytes) => Buffer.from(bytes)),
      // A video in which some bytes have changed.
      fc
        .array(fc.tuple(fc.nat(own.length - 1), fc.nat(255)), { minLength: 1, maxLength: 5 })
        .map((changes) => {
          const changed = Buffer.concat([head, own])
          for (const [at, value] of changes) changed[at] = value
          return changed
        }),
    )
    await fc.assert(
      fc.asyncProperty(anyBytes, async (content) => {
        expect(await makerIn(content)).not.toBe(null)
      }),
    )
  })
})

describe('the attempt that made a video', () => {
  it('is named in the comment of the file', async () => {
    const maker = { jobId: jobId(1), epoch: 12 }
    const content = Buffer.concat([box('ftyp'), movieWith(makerComment(maker, { seed: 7 }))])
    expect(await makerIn(content)).toEqual(maker)
  })
})

describe('the signature of a content', () => {
  const video = aFileOf(jobId(1), 300_000)

  it('is the same for a copy', async () => {
    expect(await signatureIn(Buffer.from(video))).toBe(await signatureIn(video))
  })

  it.each<[what: string, change: (bytes: Buffer) => Buffer]>([
    ['is longer', (bytes) => Buffer.concat([bytes, Buffer.from('x')])],
    ['is shorter', (bytes) => bytes.subarray(0, -1)],
    ['has another index', (bytes) => withByte(bytes, 300)],
    ['has another end', (bytes) => withByte(bytes, bytes.length - 1)],
  ])('is another one when it %s', async (_what, change) => {
    expect(await signatureIn(change(video))).not.toBe(await signatureIn(video))
  })
})

function withByte(bytes: Buffer, at: number): Buffer {
  const changed = Buffer.from(bytes)
  changed[at] = (changed[at] ?? 0) ^ 1
  return changed
}

function longBox(type: string, bytes: number): Buffer {
  const content = Buffer.alloc(16 + bytes)
  content.writeUInt32BE(1)
  content.write(type, 4, 'latin1')
  content.writeBigUInt64BE(BigInt(content.length), 8)
  return content
}

const makerIn = (content: Buffer) => withFile(content, makerOf)
const signatureIn = (content: Buffer) => withFile(content, contentSignature)

async function withFile<T>(
  content: Buffer,
  read: (handle: Awaited<ReturnType<typeof open>>, size: number) => Promise<T>,
): Promise<T> {
  const path = join(directory, 'video.mp4')
  writeFileSync(path, content)
  const handle = await open(path)
  try {
    return await read(handle, content.length)
  } finally {
    await handle.close()
  }
}
