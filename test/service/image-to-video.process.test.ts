/** Videos that begin with a picture, from the upload to the file. */
import { createReadStream, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { VideoJson } from '../../src/http/v1/video-view.ts'
import { filterFor } from '../../src/infra/media/video-tools.ts'
import {
  type Client,
  create,
  failureOf,
  generations,
  lastOf,
  openAiAt,
  untilOver,
} from '../support/openai.ts'
import { aPicture, pictureIn, pngHeader } from '../support/pictures.ts'
import {
  aDataDirectory,
  createShared,
  quick,
  type Service,
  startService,
} from '../support/service.ts'
import { isImageKept } from '../support/store/kept-images.ts'

const shared = createShared()
let service: Service
let pictures: string
beforeAll(async () => {
  service = await startService({ atEnd: shared.atEnd })
  pictures = aDataDirectory(shared.atEnd)
})
afterAll(shared.clearAway)

/** Work files where jobs run, and where the queue is. */
const worked = ({ dataDir, queue }: Service) =>
  [...new Set([dataDir, queue.dataDir])].flatMap((directory) =>
    readdirSync(join(directory, 'work'), { recursive: true, encoding: 'utf8' }),
  )

const logOf = async (of: Service, id: string) =>
  (await of.request(`/jobs/${id.replace('video_', '')}/log`)).text()

const resultOf = async (of: Service, id: string) =>
  join(of.dataDir, 'results', (await of.status(id.replace('video_', ''))).filename ?? '')

describe.each(generations)('%s', (_name, Generation) => {
  let openai: Client
  beforeAll(() => {
    openai = openAiAt(Generation, service.url)
  })

  it.each<[string, () => unknown]>([
    ['a file', () => new File([readFileSync(aPicture(pictures, 'a.png'))], 'a.png')],
    ['a stream', () => createReadStream(aPicture(pictures, 'a.jpg'))],
    [
      'a data URL',
      () => {
        const bytes = readFileSync(aPicture(pictures, 'a.webp'))
        return { image_url: `data:image/webp;base64,${bytes.toString('base64')}` }
      },
    ],
  ])('begins a video with %s', async (_what, reference) => {
    const prompt = 'a fox from a picture'
    const video = await create(openai, { prompt, input_reference: reference() })
    // As wide as the picture is, and with what it does not fill black.
    expect(video).toMatchObject({ size: '1280x720', native_size: null })
    expect(lastOf(await untilOver(openai, video.id))).toMatchObject({ status: 'completed' })
    expect(await logOf(service, video.id)).toMatch(
      new RegExp(`Input image: ${service.dataDir}/work/${video.id.slice(6)}/image\\n`),
    )
    expect(pictureIn(await resultOf(service, video.id))).toEqual({
      left: 100,
      top: 0,
      width: 1080,
      height: 720,
    })
    await expect.poll(() => worked(service)).not.toContain(video.id.slice(6))
  })

  it('takes the object of a reference as JSON too, and a portrait for a portrait', async () => {
    const bytes = readFileSync(aPicture(pictures, 'portrait.png', '600x900'))
    const input_reference = JSON.stringify({
      image_url: `data:image/png;base64,${bytes.toString('base64')}`,
    })
    expect(await create(openai, { input_reference })).toMatchObject({ size: '720x1280' })
  })

  it.each<[string, () => Buffer, string]>([
    ['text', () => Buffer.from('This is no picture, whatever its name says.'), 'PNG, JPEG or WebP'],
    ['nothing', () => Buffer.alloc(0), 'PNG, JPEG or WebP'],
    ['a GIF', () => readFileSync(aPicture(pictures, 'a.gif')), 'PNG, JPEG or WebP'],
    ['half a picture', () => half(readFileSync(aPicture(pictures, 'a.png'))), 'decoded'],
    ['a tiny one', () => readFileSync(aPicture(pictures, 'tiny.png', '8x8')), '16 pixels'],
    ['a strip', () => readFileSync(aPicture(pictures, 'strip.png', '900x200')), '4 times'],
    ['a picture too large to decode', () => pngHeader(20_000, 20_000), '50000000 pixels'],
  ])('is refused %s in the place of a picture', async (_what, bytes, rule) => {
    const input_reference = new File([new Uint8Array(bytes())], 'picture.png', {
      type: 'image/png',
    })
    const error = await failureOf(create(openai, { input_reference }))
    expect(error).toBeInstanceOf(Generation.BadRequestError)
    expect(error).toMatchObject({ code: 'invalid_input_reference', param: 'input_reference' })
    expect(error.message).toContain(rule)
    expect(worked(service).filter((path) => path.startsWith('.'))).toEqual([])
  })

  it('is refused a picture of 22 MB before all of it has come, once', async () => {
    const input_reference = new File([pngHeader(64, 64), new Uint8Array(22_000_000)], 'a.png')
    openai.sent()
    const error = await failureOf(create(openai, { input_reference }))
    expect(error).toMatchObject({ status: 413, code: 'body_too_large' })
    expect(openai.sent()).toHaveLength(1)
    expect(worked(service).filter((path) => path.startsWith('.'))).toEqual([])
  })
})

describe('POST /generate', () => {
  const form = (fields: Record<string, string | Blob>) => {
    const body = new FormData()
    for (const [name, value] of Object.entries({ prompt: 'a fox', ...numbers, ...fields })) {
      body.append(name, value)
    }
    return { method: 'POST', body }
  }
  const numbers = { size: '1280x720', frames: '5', steps: '4' }
  const picture = (name = 'native.png') => new Blob([readFileSync(aPicture(pictures, name))])

  it('takes a picture in a form', async () => {
    const response = await service.request('/generate', form({ image: picture(), seed: '7' }))
    expect(response.status).toBe(202)
    const { id } = (await response.json()) as { id: string }
    const job = await service.until(id)
    expect(job).toMatchObject({
      status: 'success',
      seed: 7,
      frames: 5,
      image: { type: 'png', width: 900, height: 600 },
      file: { width: 1280, height: 720 },
    })
    await expect.poll(() => worked(service)).not.toContain(id)
  })

  it('takes a form without one, as it takes JSON', async () => {
    const response = await service.request('/generate', form({}))
    expect(response.status).toBe(202)
    const { id } = (await response.json()) as { id: string }
    expect(await service.until(id)).toMatchObject({ status: 'success', image: null })
  })

  it.each<[string, () => Record<string, string | Blob>, number, string, string | undefined]>([
    ['text for a picture', () => ({ image: new Blob(['x']) }), 422, 'invalid_request', 'image'],
    ['a picture that is text', () => ({ image: 'x' }), 422, 'invalid_request', 'image'],
    ['a picture elsewhere', () => ({ logo: picture() }), 422, 'invalid_request', 'logo'],
    ['a number that is none', () => ({ steps: '4x' }), 422, 'invalid_request', 'steps'],
    ['an unknown field', () => ({ colour: 'red' }), 422, 'invalid_request', 'colour'],
    ['60 fields', () => Object.fromEntries(sixty), 400, 'malformed_body', undefined],
  ])('refuses a form with %s', async (_what, fields, status, code, field) => {
    const response = await service.request('/generate', form(fields()))
    expect(response.status).toBe(status)
    expect(await response.json()).toMatchObject({ code, ...(field && { field }) })
    expect(worked(service).filter((path) => path.startsWith('.'))).toEqual([])
  })

  it.each([
    ['multipart/form-data', 'x'],
    ['multipart/form-data; boundary=x', 'x'],
    [
      'multipart/form-data; boundary=x',
      '--x\r\nContent-Disposition: form-data; name="prompt"\r\n\r\na',
    ],
  ])('refuses a form of %s that is none', async (type, body) => {
    const headers = { 'Content-Type': type }
    const response = await service.request('/generate', { method: 'POST', headers, body })
    expect(response.status).toBe(400)
    expect(await response.json()).toMatchObject({ code: 'malformed_body' })
  })

  it('does not take what JSON says for a picture', async () => {
    const image = { uploadId: '../../x', type: 'png', width: 64, height: 64, bytes: 1, sha256: 'x' }
    const response = await service.post({ prompt: 'a fox', ...quick, image: { image } })
    expect(response.status).toBe(422)
    expect(await response.json()).toMatchObject({ field: 'image' })
  })

  it('keeps nothing of an upload that is cut off', async () => {
    const head = [
      'POST /generate HTTP/1.1',
      'Host: localhost',
      'Content-Type: multipart/form-data; boundary=b',
      'Content-Length: 5000000',
      '',
      '--b',
      'Content-Disposition: form-data; name="image"; filename="a.png"',
      '',
      '',
    ].join('\r\n')
    const socket = net.connect(Number(new URL(service.url).port), '127.0.0.1')
    socket.on('error', () => {})
    socket.write(Buffer.concat([Buffer.from(head), pngHeader(64, 64), Buffer.alloc(100_000)]))
    const uploads = () => worked(service).filter((path) => path.startsWith('.upload.'))
    await expect.poll(uploads).toHaveLength(1)
    socket.destroy()
    await expect.poll(uploads).toEqual([])
  })

  it.each(['', '; boundary=', '; boundary=""', '; boundary="', '; boundary=; x'])(
    'is told that a form is no form where nothing tells its parts apart: "%s"',
    async (boundary) => {
      const headers = { 'Content-Type': `multipart/form-data${boundary}` }
      const part = '--\r\nContent-Disposition: form-data; name="prompt"\r\n\r\na fox\r\n'
      const init = { method: 'POST', headers, body: `${part}----\r\n` }
      const response = await service.request('/generate', init)
      expect(response.status).toBe(400)
      expect(await response.json()).toMatchObject({ code: 'malformed_body' })
    },
  )

  it('is told that a form is no form, wherever it is cut off', async () => {
    const begin = '--b\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
    const file = readFileSync(aPicture(pictures, 'native.png')).subarray(0, 300)
    const whole = Buffer.concat([Buffer.from(begin), file, Buffer.from('\r\n--b--\r\n')])
    const lengths = Array.from({ length: 60 }, (_, n) => Math.floor((n / 60) * whole.length))
    const headers = { 'Content-Type': 'multipart/form-data; boundary=b' }
    const answers = await Promise.all(
      lengths.map(async (length) => {
        const body = whole.subarray(0, length)
        const response = await service.request('/generate', { method: 'POST', headers, body })
        return `${response.status} ${((await response.json()) as { code: string }).code}`
      }),
    )
    expect([...new Set(answers)]).toEqual(['400 malformed_body'])
    await expect.poll(() => worked(service).filter((p) => p.startsWith('.'))).toEqual([])
  })

  it('lets 100 MB without a length pass by, and its memory stays as it was', async () => {
    const rss = () =>
      Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${service.child.pid}/status`, 'utf8'))?.[1])
    const before = rss()
    const chunk = new Uint8Array(1_000_000)
    let sent = 0
    const begin = `--b\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n`
    const body = new ReadableStream<Uint8Array>({
      start: (controller) => {
        controller.enqueue(Buffer.concat([Buffer.from(begin), pngHeader(64, 64)]))
      },
      pull(controller) {
        if (sent++ < 100) controller.enqueue(chunk)
        else controller.close()
      },
    })
    const headers = { 'Content-Type': 'multipart/form-data; boundary=b' }
    const init = { method: 'POST', headers, body, duplex: 'half' } as const
    const status = await service.request('/generate', init as RequestInit).then(
      (response) => response.status,
      () => 'cut off',
    )
    expect([413, 'cut off']).toContain(status)
    expect(rss() - before).toBeLessThan(60_000)
    expect((await service.request('/health')).status).toBe(200)
    await expect.poll(() => worked(service).filter((p) => p.startsWith('.'))).toEqual([])
  })
})

describe('the picture of a job', () => {
  const withPicture = (of: Service, prompt: string) => {
    const input_reference = new File([readFileSync(aPicture(pictures, 'kept.png'))], 'kept.png')
    return create(openAiAt(generations[0][1], of.url), { prompt, input_reference })
  }

  it('is there for the next attempt', async () => {
    const own = await startService()
    const { id } = await withPicture(own, 'a fox [sim:once=exit-1]')
    expect(await own.until(id.slice(6))).toMatchObject({ status: 'success', attempt: 2 })
    expect((await logOf(own, id)).match(/Input image: /g)).toHaveLength(2)
  })

  it('survives the end of the service, and what belongs to no job does not', async () => {
    const own = await startService({ env: { GPU_IDS: '0' } })
    await own.until(
      await own.submit({ prompt: 'first [sim:hang-step]' }),
      (job) => job.stage === 'denoising',
    )
    const { id } = await withPicture(own, 'second')
    await own.stop('SIGKILL')
    // As a crash leaves them: an upload that was coming in, and one whose job was never written down.
    const work = join(own.dataDir, 'work')
    writeFileSync(join(work, '.upload.00000000-0000-4000-8000-000000000000'), 'half')
    const lost = '00000000-0000-4000-8000-000000000001'
    mkdirSync(join(work, lost))
    writeFileSync(join(work, lost, 'image'), 'whole')

    const next = await startService({ dataDir: own.dataDir, env: { GPU_IDS: '0' } })
    const { jobs } = await next.json<{ jobs: { id: string; prompt: string }[] }>('/jobs')
    expect(await isImageKept(next.dataDir, id.slice(6))).toBe(true)
    expect(worked(next).join()).not.toMatch(/\.upload\.|00000000-0000/)
    expect(readdirSync(next.dataDir)).not.toContain('archive')
    const first = jobs.find(({ prompt }) => prompt.startsWith('first'))?.id
    await next.request(`/jobs?ids=${first}`, { method: 'DELETE' })
    expect(await next.until(id.slice(6))).toMatchObject({ status: 'success' })
    expect(await logOf(next, id)).toContain('Input image: ')
  })

  it('goes when the job is canceled before it runs', async () => {
    const own = await startService({ env: { GPU_IDS: '0' } })
    await own.until(
      await own.submit({ prompt: 'first [sim:hang-step]' }),
      (job) => job.stage === 'denoising',
    )
    const { id } = await withPicture(own, 'second')
    expect(await isImageKept(own.dataDir, id.slice(6))).toBe(true)
    await own.request(`/jobs?ids=${id.slice(6)}`, { method: 'DELETE' })
    await expect.poll(() => isImageKept(own.dataDir, id.slice(6))).toBe(false)
    await expect.poll(() => worked(own).join()).not.toContain(id.slice(6))
  })

  it('is what a remix lacks', async () => {
    const { id } = await withPicture(service, 'a fox to vary')
    const openai = openAiAt(generations[0][1], service.url)
    await untilOver(openai, id)
    const error = await failureOf(openai.videos.remix(id, { prompt: 'an owl' }))
    expect(error).toMatchObject({ status: 400, code: 'invalid_id' })
    expect(error.message).toContain('image')
  })

  it('is up to the model: one takes none, one takes no less', async () => {
    const none = await startService({ env: { WAN_TASK: 't2v-A14B' } })
    expect(await failureOf(withPicture(none, 'a fox'))).toMatchObject({
      status: 400,
      param: 'input_reference',
      message: expect.stringContaining('t2v-A14B takes none'),
    })
    await none.stop('SIGKILL')
    const always = await startService({ env: { WAN_TASK: 'i2v-A14B' } })
    const response = await always.post({ prompt: 'a fox', ...quick })
    expect(response.status).toBe(422)
    expect(await response.json()).toMatchObject({ field: 'image', detail: 'image: is required' })
    const video: VideoJson = await withPicture(always, 'a fox')
    expect(await always.until(video.id.slice(6))).toMatchObject({
      status: 'success',
      file: { width: 1280, height: 720 },
    })
  })
})

describe('a finished picture', () => {
  it.each<['pad' | 'scale', string, string, string | undefined]>([
    ['pad', '1280x704', '1280x720', 'pad=1280:720:0:8:black'],
    ['pad', '704x1280', '720x1280', 'pad=720:1280:8:0:black'],
    ['pad', '1280x720', '1280x720', undefined],
    ['pad', '960x640', '1280x720', 'pad=1280:720:160:40:black'],
    [
      'pad',
      '1152x768',
      '1280x720',
      'scale=1080:720:flags=lanczos,setsar=1,pad=1280:720:100:0:black',
    ],
    [
      'pad',
      '704x1280',
      '1280x720',
      'scale=396:720:flags=lanczos,setsar=1,pad=1280:720:442:0:black',
    ],
    ['scale', '1280x704', '1280x720', 'scale=1280:720:flags=lanczos,setsar=1'],
    [
      'scale',
      '960x640',
      '1280x720',
      'scale=1080:720:flags=lanczos,setsar=1,pad=1280:720:100:0:black',
    ],
    ['scale', '1280x720', '1280x720', undefined],
  ])('by %s from %s to %s is made by %s', (fit, from, to, filter) => {
    const dimensions = (text: string) => {
      const [width = 0, height = 0] = text.split('x').map(Number)
      return { width, height }
    }
    expect(filterFor(dimensions(from), dimensions(to), fit)).toBe(filter)
  })
})

const half = (bytes: Buffer) => bytes.subarray(0, bytes.length / 2)

const sixty = Array.from({ length: 60 }, (_, n) => [`field${n}`, 'x'] as const)
