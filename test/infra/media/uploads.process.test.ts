import { mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { RefusalError } from '../../../src/domain/errors.ts'
import { createUploads } from '../../../src/infra/media/uploads.ts'
import { createForkServer, type ForkServer } from '../../../src/infra/processes/fork-server.ts'
import type { ToolEnd } from '../../../src/infra/processes/tool.ts'
import {
  animationChunk,
  onCanvas,
  pngHeaderChunk,
  textBomb,
  withChunks,
  withSecondFrameHeader,
} from '../../support/hostile-pictures.ts'
import { aPicture } from '../../support/pictures.ts'
import { aDataDirectory, createShared, processesOf } from '../../support/service.ts'

const shared = createShared()
let workDir: string
let pictures: string
let forkServer: ForkServer
beforeAll(() => {
  const root = aDataDirectory(shared.atEnd)
  workDir = join(root, 'work')
  pictures = join(root, 'pictures')
  mkdirSync(workDir)
  mkdirSync(pictures)
  forkServer = createForkServer('python3')
  shared.atEnd(forkServer.close)
})
afterAll(shared.clearAway)

const uploads = () => readdirSync(workDir).filter((name) => name.startsWith('.upload.'))

/** Those that are taken are left to whoever has sent them. */
afterEach(() => {
  for (const name of uploads()) rmSync(join(workDir, name))
})

const picture = (name: string, size?: string): Buffer =>
  readFileSync(aPicture(pictures, name, size))

const receive = (bytes: Buffer, start = forkServer.startTool) =>
  createUploads({ workDir }, start).receive(Readable.from([bytes]), 'image')

/** Why the image is not taken. Nothing of it may be left. */
async function refusalOf(receiving: Promise<unknown>): Promise<RefusalError> {
  const error = await receiving.then(
    () => expect.fail('the image was taken'),
    (why: unknown) => why,
  )
  expect(error).toBeInstanceOf(RefusalError)
  expect(uploads()).toEqual([])
  return error as RefusalError
}

const small = { width: 64, height: 64 }
const large = { width: 8_000, height: 7_000 }

describe('an image', () => {
  it.each(['a.png', 'a.jpg', 'a.webp'])('is taken whole: %s', async (name) => {
    const { type, width, height } = await receive(picture(name, '901x601'))
    expect({ type, width, height }).toMatchObject({ width: 901, height: 601 })
  })

  it('is taken as it is stored when a camera was turned', async () => {
    const exif = Buffer.from(
      '4578696600004d4d002a000000080001011200030000000100060000000000000000',
      'hex',
    )
    const segment = Buffer.concat([Buffer.from([0xff, 0xe1, 0, exif.length + 2]), exif])
    const jpeg = picture('turned.jpg', '900x600')
    const turned = Buffer.concat([jpeg.subarray(0, 2), segment, jpeg.subarray(2)])
    expect(await receive(turned)).toMatchObject({ width: 900, height: 600 })
  })

  it.each<[what: string, bytes: () => Buffer]>([
    [
      'a JPEG whose first frame header is smaller',
      () => withSecondFrameHeader(picture('b.jpg'), small, 'before'),
    ],
    [
      'a JPEG whose last frame header is smaller',
      () => withSecondFrameHeader(picture('b.jpg'), small, 'after'),
    ],
    [
      'a JPEG whose last frame header is far larger',
      () => withSecondFrameHeader(picture('b.jpg'), large, 'after'),
    ],
    [
      'a JPEG of 56 megapixels behind a small frame header',
      () => withSecondFrameHeader(picture('huge.jpg', '8000x7000'), small, 'before'),
    ],
    ['a WebP on a smaller canvas', () => onCanvas(picture('b.webp'), small)],
    ['a WebP on a larger canvas', () => onCanvas(picture('b.webp'), { width: 2000, height: 2000 })],
    [
      'a WebP of 56 megapixels on a small canvas',
      () => onCanvas(picture('huge.webp', '8000x7000'), small),
    ],
    [
      'a PNG with a second header before its data',
      () => withChunks(picture('b.png'), pngHeaderChunk(large), 'IDAT'),
    ],
    [
      'a PNG with a second header after its data',
      () => withChunks(picture('b.png'), pngHeaderChunk(small), 'IEND'),
    ],
  ])('is refused when it is %s', async (_what, bytes) => {
    const refusal = await refusalOf(receive(bytes()))
    expect(refusal).toMatchObject({ code: 'invalid_request', field: 'image' })
    expect(refusal.message).toMatch(
      /^image: must (?:be a whole image|have the size that its header)/,
    )
  })

  it('is refused when it is a WebP that moves', async () => {
    const moving = onCanvas(picture('c.webp'), { width: 900, height: 600 }, 2)
    expect((await refusalOf(receive(moving))).message).toBe(
      'image: must be a still image, not an animation',
    )
  })

  it('is its first picture when it is a PNG that says it has a billion', async () => {
    const bytes = withChunks(picture('c.png'), animationChunk(1e9), 'IDAT')
    expect(await receive(bytes)).toMatchObject({ width: 900, height: 600 })
  })

  it('is decoded within a bounded memory, whatever its texts unfold to', async () => {
    const bomb = textBomb(480_000_000)
    const bombs = Buffer.concat(Array.from({ length: 30 }, () => bomb))
    const bytes = withChunks(picture('d.png'), bombs, 'IDAT')
    expect(bytes.length).toBeLessThan(20 * 1024 * 1024)
    let isOver = false
    const receiving = receive(bytes).then(
      () => undefined,
      (why: unknown) => why,
    )
    void receiving.finally(() => {
      isOver = true
    })
    let most = 0
    await expect
      .poll(
        () => {
          most = Math.max(most, ...processesOf(`file:${workDir}`).map(peakOf))
          return isOver
        },
        { timeout: 40_000, interval: 20 },
      )
      .toBe(true)
    expect(most).toBeGreaterThan(0)
    expect(most).toBeLessThan(1.6 * 1024 ** 3)
    const refusal = await receiving
    if (refusal !== undefined) expect(refusal).toMatchObject({ code: 'invalid_request' })
  })

  const endingIn = (end: ToolEnd) => () => ({
    ended: Promise.resolve(end),
    kill: () => {},
    leave: () => {},
  })

  const ended = { how: 'ended', code: null, stdout: '', stderr: '' } as const

  it.each(['SIGSEGV', 'SIGABRT'])('is to blame when its decoder ends by %s', async (signal) => {
    const start = endingIn({ ...ended, signal })
    expect(await refusalOf(receive(picture('e.png'), start))).toMatchObject({
      code: 'invalid_request',
    })
  })

  it.each<[string, ToolEnd]>([
    ['is killed again and again', { ...ended, signal: 'SIGKILL' }],
    ['is not installed', { how: 'cannotStart', error: 'ENOENT', why: 'no such file' }],
  ])('is not to blame when its decoder %s', async (_how, end) => {
    expect(await refusalOf(receive(picture('e.png'), endingIn(end)))).toMatchObject({
      code: 'service_busy',
      message: expect.stringMatching(/^image: no image can be checked now .*Try again later/),
    })
  })

  it('is decoded again when its decoder was killed', async () => {
    let isFirst = true
    const start: typeof forkServer.startTool = (...order) => {
      const run = forkServer.startTool(...order)
      if (isFirst) run.kill()
      isFirst = false
      return run
    }
    expect(await receive(picture('f.png'), start)).toMatchObject({ width: 900 })
    expect(isFirst).toBe(false)
  })
})

/** Most memory that a process has had. */
function peakOf(pid: number): number {
  try {
    const [, kib] = /VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? []
    return 1024 * Number(kib ?? 0)
  } catch {
    return 0
  }
}
