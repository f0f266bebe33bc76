/** The Videos API as the stock clients use it, against the real service. */
import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { VideoJson } from '../../../src/http/v1/video-view.ts'
import {
  type Client,
  create,
  failureOf,
  generations,
  lastOf,
  openAiAt,
  quickVideo,
  untilOver,
} from '../../support/openai.ts'
import { createShared, type Service, startService } from '../../support/service.ts'

const shared = createShared()
let service: Service
beforeAll(async () => {
  service = await startService({ atEnd: shared.atEnd })
})
afterAll(shared.clearAway)

describe.each(generations)('%s', (_name, Generation) => {
  let openai: Client
  beforeAll(() => {
    openai = openAiAt(Generation, service.url)
  })

  describe('creates', () => {
    it('with every extension, which the script is told', async () => {
      const { id } = await create(openai, {
        prompt: 'a fox with everything',
        model: 'wan2.2-ti2v-5b',
        size: '1280*704',
        seconds: '0.2',
        num_frames: 5,
        num_inference_steps: 7,
        guidance_scale: 4.5,
        flow_shift: 3,
        seed: 42,
        negative_prompt: 'owls\nat night',
      })
      const video = lastOf(await untilOver(openai, id))
      expect(video).toMatchObject({ status: 'completed', size: '1280x704', seed: 42 })
      expect(await service.status(id.slice(6))).toMatchObject({ negative_prompt: 'owls at night' })
      const log = await (await service.request(`/jobs/${id.slice(6)}/log`)).text()
      for (const argument of [
        "size='1280*704'",
        'frame_num=5',
        'sample_steps=7',
        'sample_guide_scale=4.5',
        'sample_shift=3.0',
        'base_seed=42',
      ]) {
        expect(log).toContain(argument)
      }
    })

    it.each([
      ['4', 97],
      ['5', 121],
      ['8', 193],
    ])('%s seconds of video as %i frames', async (seconds, num_frames) => {
      const video = await openai.videos.create({
        prompt: 'a fox [sim:hang-step]',
        seconds,
      } as never)
      expect(video).toMatchObject({ seconds, num_frames })
      await openai.videos.delete(video.id)
    })

    it('by JSON as well as by a form', async () => {
      const response = await service.request('/v1/videos', {
        method: 'POST',
        headers: { 'Content-Type': 'application/json' },
        body: JSON.stringify({ prompt: 'a fox [sim:hang-step]', seconds: 4, seed: 7 }),
      })
      expect(response.status).toBe(200)
      const video = (await response.json()) as VideoJson
      expect(video).toMatchObject({ seconds: '4', num_frames: 97, seed: 7 })
      await openai.videos.delete(video.id)
    })

    it.each<[string, object, string, string]>([
      [
        'a number that is none',
        { num_inference_steps: '30abc' },
        'num_inference_steps',
        'invalid_num_inference_steps',
      ],
      ['an unknown size', { size: '1024x1792' }, 'size', 'invalid_size'],
      ['too many seconds', { num_frames: undefined, seconds: '12' }, 'seconds', 'invalid_seconds'],
      ['no seconds', { num_frames: undefined, seconds: '0' }, 'seconds', 'invalid_seconds'],
      [
        'seconds and frames that differ',
        { num_frames: 5, seconds: '4' },
        'seconds',
        'invalid_seconds',
      ],
      ['another model', { model: 'sora-2' }, 'model', 'model_not_found'],
      [
        'a long negative prompt',
        { negative_prompt: 'x'.repeat(32_001) },
        'negative_prompt',
        'invalid_negative_prompt',
      ],
      ['a field nobody knows', { colour: 'red' }, 'colour', 'unsupported_parameter'],
      ['a place before others', { priority: 1 }, 'priority', 'unsupported_parameter'],
      ['notes that are no texts', { metadata: 'x' }, 'metadata', 'invalid_metadata'],
      [
        'too many notes',
        { metadata: Object.fromEntries(Array.from({ length: 17 }, (_, n) => [`n${n}`, 'x'])) },
        'metadata',
        'invalid_metadata',
      ],
      ['a long note', { metadata: { x: 'x'.repeat(513) } }, 'metadata', 'invalid_metadata'],
      [
        'a webhook to where nobody may send',
        { webhook_url: 'http://169.254.169.254/latest' },
        'webhook_url',
        'invalid_webhook_url',
      ],
      [
        'a secret for no webhook',
        { webhook_secret: `whsec_${'A'.repeat(32)}` },
        'webhook_secret',
        'invalid_webhook_secret',
      ],
      ['a prompt that is an option', { prompt: '--save_file=x' }, 'prompt', 'invalid_prompt'],
      [
        'a file of somewhere else',
        { input_reference: { file_id: 'file-1' } },
        'input_reference.file_id',
        'unsupported_parameter',
      ],
      [
        'an address of somewhere else',
        { input_reference: { image_url: 'http://127.0.0.1/a.png' } },
        'input_reference.image_url',
        'invalid_input_reference',
      ],
    ])('nothing from %s', async (_what, fields, param, code) => {
      const error = await failureOf(create(openai, fields))
      expect(error).toBeInstanceOf(Generation.BadRequestError)
      expect(error).toMatchObject({ status: 400, param, code, type: 'invalid_request_error' })
      expect(error.message).toContain(param)
    })
  })

  it('may write its prompt in lines', async () => {
    const { id, prompt } = await create(openai, { prompt: ' a fox,\r\n\tred\n[sim:hang-step]' })
    expect(prompt).toBe('a fox, red [sim:hang-step]')
    await openai.videos.delete(id)
  })

  describe('sees', () => {
    it('a video through to its end', async () => {
      const { id } = await create(openai, {
        prompt: 'a heron [sim:step=0.1]',
        num_inference_steps: 8,
      })
      const seen = await untilOver(openai, id)
      const video = lastOf(seen)
      expect(video).toMatchObject({
        status: 'completed',
        progress: 100,
        error: null,
        eta_seconds: null,
      })
      expect(video.completed_at).toBeGreaterThanOrEqual(video.created_at)
      const progress = seen.map((one) => one.progress)
      expect(progress).toEqual(progress.toSorted((a, b) => a - b))
      expect(seen.slice(0, -1).every((one) => one.progress < 100)).toBe(true)
      expect(seen.some(({ stage }) => stage === 'denoising')).toBe(true)
    })

    it.each([
      ['exit-1', 'generation_failed'],
      ['no-file-silent', 'no_output'],
      ['oom', 'out_of_memory'],
    ])('that a video has failed by %s, without an error of its own', async (fault, code) => {
      const { id } = await create(openai, { prompt: `a fox [sim:${fault}]` })
      const video = lastOf(await untilOver(openai, id))
      expect(video).toMatchObject({
        status: 'failed',
        error: { code, message: expect.any(String) },
      })
      openai.sent()
      await openai.videos.retrieve(id)
      expect(openai.sent()).toEqual([`GET /v1/videos/${id}`])
      expect(await failureOf(openai.videos.downloadContent(id))).toMatchObject({
        status: 422,
        code: 'video_failed',
      })
    })

    it('nothing where there is nothing', async () => {
      for (const id of ['../x', 'a/b c', 'video_00000000-0000-4000-8000-000000000000', '%2e%2e']) {
        const error = await failureOf(openai.videos.retrieve(id))
        expect(error).toBeInstanceOf(Generation.NotFoundError)
        expect(error).toMatchObject({ code: 'video_not_found', param: 'id' })
      }
      const error = await failureOf(openai.client.get('/nowhere'))
      expect(error).toBeInstanceOf(Generation.NotFoundError)
      expect(error).toMatchObject({ code: 'route_not_found' })
      expect(error.requestID).toEqual(expect.any(String))
    })

    it('which model there is', async () => {
      const models = (await openai.models.list()).data
      expect(models).toMatchObject([{ id: 'wan2.2-ti2v-5b', object: 'model', owned_by: 'wan-ai' }])
      expect(await openai.models.retrieve('wan2.2-ti2v-5b')).toEqual(models[0])
      expect(await failureOf(openai.models.retrieve('sora-2'))).toMatchObject({
        status: 404,
        code: 'model_not_found',
      })
    })
  })

  it('finds videos by what they were asked with, and is told where a page ends', async () => {
    const own = await startService()
    const client = openAiAt(Generation, own.url)
    const ids: string[] = []
    for (let n = 0; n < 4; n++) {
      ids.push((await create(client, { prompt: `fox ${n} [sim:hang-step]` })).id)
    }
    const page = await client.videos.list({ limit: 2, order: 'asc' })
    expect(page).toMatchObject({ has_more: true, last_id: ids[1] })
    expect(await own.json('/v1/videos?limit=0')).toEqual({
      object: 'list',
      data: [],
      first_id: null,
      last_id: null,
      has_more: true,
    })
    const found = async (query: Record<string, string>) => {
      const path = `/v1/videos?${new URLSearchParams({ order: 'asc', ...query })}`
      return (await own.json<{ data: VideoJson[] }>(path)).data.map(({ id }) => id)
    }
    expect(await found({ status: 'failed' })).toEqual([])
    expect(await found({ prompt: 'fox 3 [sim:hang-step]' })).toEqual([ids[3]])
    expect(await found({ prompt: 'fox 3' })).toEqual([])
    expect(await found({ prompt_contains: 'fox 3' })).toEqual([ids[3]])
    // As it is written, and nothing of it is a pattern.
    expect(await found({ prompt_contains: 'FOX' })).toEqual([])
    expect(await found({ prompt_contains: '%' })).toEqual([])
    expect(await found({ model: 'wan2.2-ti2v-5b' })).toEqual(ids)
    const since = Math.floor(Date.now() / 1_000) - 3_600
    expect(await found({ created_after: String(since) })).toEqual(ids)
    expect(await found({ created_before: String(since) })).toEqual([])
    const bad = await failureOf(client.videos.list({ limit: 101 }) as Promise<unknown>)
    expect(bad).toMatchObject({ status: 400, code: 'invalid_limit', param: 'limit' })
    const other = await failureOf(client.client.get('/videos?model=sora-2'))
    expect(other).toMatchObject({ status: 400, code: 'model_not_found' })
  })

  it('keeps notes on a video, and shows them wherever it is shown', async () => {
    const metadata = { order: '4711', für: '  Ада ' }
    for (const given of [metadata, JSON.stringify(metadata)]) {
      const { id } = await create(openai, { prompt: 'a noted fox', metadata: given })
      expect(await openai.videos.retrieve(id)).toMatchObject({ metadata })
      expect(await service.status(id.slice(6))).toMatchObject({ metadata })
    }
    expect(await create(openai, {})).toMatchObject({ metadata: null })
    const native = await service.submit({ prompt: 'a noted fox', metadata })
    expect(await service.status(native)).toMatchObject({ metadata })
  })

  describe('downloads', () => {
    let video: VideoJson
    let file: Buffer
    beforeAll(async () => {
      const { id } = await create(openai, {
        prompt: 'a fox to keep',
        size: '1280x720',
        num_frames: 33,
      })
      video = lastOf(await untilOver(openai, id))
      expect(video.error).toBeNull()
      const { filename } = await service.status(id.slice(6))
      file = readFileSync(join(service.dataDir, 'results', filename ?? ''))
    })

    it('the file, whole or in part', async () => {
      const whole = await openai.videos.downloadContent(video.id)
      expect(whole.headers.get('Content-Type')).toBe('video/mp4')
      expect(whole.headers.get('x-request-id')).toEqual(expect.any(String))
      expect(Buffer.from(await whole.arrayBuffer()).equals(file)).toBe(true)

      const part = await openai.videos.downloadContent(
        video.id,
        {},
        { headers: { Range: 'bytes=0-1' } },
      )
      expect(part.status).toBe(206)
      expect(part.headers.get('Content-Range')).toBe(`bytes 0-1/${file.length}`)
      expect(Buffer.from(await part.arrayBuffer())).toEqual(file.subarray(0, 2))

      const beyond = openai.videos.downloadContent(
        video.id,
        {},
        { headers: { Range: 'bytes=999999999-' } },
      )
      expect(await failureOf(beyond)).toMatchObject({ status: 416, code: 'range_not_satisfiable' })
      const head = await service.request(`/v1/videos/${video.id}/content`, { method: 'HEAD' })
      expect(head.headers.get('Content-Length')).toBe(String(file.length))
    })

    it('pictures of it, made once', async () => {
      const [thumbnail, again, spritesheet] = await Promise.all(
        (['thumbnail', 'thumbnail', 'spritesheet'] as const).map(async (variant) => {
          const response = await openai.videos.downloadContent(video.id, { variant })
          expect(response.headers.get('Content-Type')).toBe('image/webp')
          return Buffer.from(await response.arrayBuffer())
        }),
      )
      expect(again).toEqual(thumbnail)
      expect(sizeOf(thumbnail)).toEqual('1280x720')
      expect(sizeOf(spritesheet)).toEqual('1280x720') // 4 by 4 of 320x180
      const name = `${video.id.slice(6)}.thumbnail.webp`
      expect(readdirSync(join(service.dataDir, 'previews'))).toContain(name)
      expect(
        await failureOf(openai.videos.downloadContent(video.id, { variant: 'x' as never })),
      ).toMatchObject({ status: 400, code: 'invalid_variant' })
    })

    it('nothing of a video that is not finished, and does not ask twice', async () => {
      const { id } = await create(openai, { prompt: 'a slow fox [sim:hang-step]' })
      openai.sent()
      const error = await failureOf(openai.videos.downloadContent(id))
      expect(error).toBeInstanceOf(Generation.NotFoundError)
      expect(error).toMatchObject({ code: 'video_not_ready' })
      expect(openai.sent()).toHaveLength(1)
      await openai.videos.delete(id)
    })

    it('nothing of a video whose file has been deleted', async () => {
      const { id } = await create(openai, { prompt: 'a fox to lose' })
      await untilOver(openai, id)
      await service.request(`/videos?ids=${id.slice(6)}`, { method: 'DELETE' })
      expect(await failureOf(openai.videos.downloadContent(id))).toMatchObject({
        status: 410,
        code: 'video_expired',
      })
    })
  })

  it('is told of a limit that lasts longer than it should wait', async () => {
    const own = await startService({ env: { JOBS_PER_HOUR: '1' } })
    const client = openAiAt(Generation, own.url)
    await create(client, {})
    client.sent()
    const error = await failureOf(create(client, {}))
    expect(error).toBeInstanceOf(Generation.RateLimitError)
    expect(error).toMatchObject({ code: 'rate_limit_exceeded', type: 'rate_limit_error' })
    // It sleeps only before it asks again.
    expect(client.sent()).toHaveLength(1)
  })

  it('finds nothing of what others have', async () => {
    const own = await startService({ env: { API_TOKENS: `fox:${key},owl:${otherKey}` } })
    const fox = openAiAt(Generation, own.url, key)
    const { id } = await create(fox, {})
    await untilOver(fox, id)
    const owl = openAiAt(Generation, own.url, otherKey)
    for (const call of [
      () => owl.videos.retrieve(id),
      () => owl.videos.downloadContent(id),
      () => owl.videos.delete(id),
      () => owl.videos.remix(id, { prompt: 'x' }),
      () => owl.client.post(`/videos/${id}/cancel`),
    ]) {
      expect(await failureOf(call())).toMatchObject({ status: 404, code: 'video_not_found' })
    }
    expect((await owl.videos.list()).data).toEqual([])
    expect((await fox.videos.list()).data).toMatchObject([{ id, status: 'completed' }])
  })
})

describe('who waits for the video itself', () => {
  const wait = (body: object, of = service, signal?: AbortSignal) =>
    of.request('/v1/videos/sync', {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ ...quickVideo, ...body }),
      ...(signal && { signal }),
    })

  it('is given it when it is there', async () => {
    const response = await wait({ prompt: 'a heron [sim:step=0.1]' })
    expect(response.status).toBe(200)
    expect(response.headers.get('Content-Type')).toBe('video/mp4')
    expect(response.headers.get('X-Model')).toBe('wan2.2-ti2v-5b')
    expect(Number(response.headers.get('X-Inference-Time-S'))).toBeGreaterThan(0.3)
    const bytes = Buffer.from(await response.arrayBuffer())
    const content = await service.request(`${response.headers.get('Location')}/content`)
    expect(bytes.equals(Buffer.from(await content.arrayBuffer()))).toBe(true)
  })

  it('may send a form, and is not confused by what it says of files', async () => {
    const body = new FormData()
    for (const [name, value] of Object.entries(quickVideo)) body.append(name, String(value))
    const headers = { Range: 'bytes=0-1', 'If-None-Match': '*' }
    const response = await service.request('/v1/videos/sync', { method: 'POST', headers, body })
    expect(response.status).toBe(200)
    expect((await response.arrayBuffer()).byteLength).toBeGreaterThan(1_000)
  })

  it('is told that there will be none', async () => {
    const response = await wait({ prompt: 'a fox [sim:exit-1]' })
    expect(response.status).toBe(422)
    expect(await response.json()).toMatchObject({ error: { code: 'video_failed' } })
    const video = await service.json<VideoJson>(String(response.headers.get('Location')))
    expect(video).toMatchObject({ status: 'failed', error: { code: 'generation_failed' } })
  })

  it('is told that it takes too long, and the video goes on', async () => {
    const own = await startService({ env: { SYNC_WAIT_S: '1' } })
    const response = await wait({ prompt: 'a fox [sim:hang-step]' }, own)
    expect(response.status).toBe(504)
    expect(response.headers.get('x-should-retry')).toBe('false')
    expect(await response.json()).toMatchObject({ error: { code: 'video_not_in_time' } })
    const video = await own.json<VideoJson>(String(response.headers.get('Location')))
    expect(video.status).toMatch(/queued|in_progress/)
  })

  it('cancels it by hanging up', async () => {
    const own = await startService()
    const gone = new AbortController()
    const response = wait({ prompt: 'a fox [sim:hang-step]' }, own, gone.signal)
    const jobs = async () => (await own.json<{ jobs: { id: string }[] }>('/jobs')).jobs
    await expect.poll(jobs).toHaveLength(1)
    const [{ id } = { id: '' }] = await jobs()
    await own.until(id, ({ stage }) => stage === 'denoising')
    gone.abort()
    await expect(response).rejects.toThrow()
    expect(await own.until(id)).toMatchObject({ status: 'canceled' })
  })

  it.each<[what: string, Waiting, Waiting]>([
    ['the repetition, while the first request waits', 'sync', 'sync'],
    ['the first request, after POST /v1/videos received the video', 'sync', 'create'],
    ['the only waiting request, of a video that POST /v1/videos created', 'create', 'sync'],
  ])('does not cancel it by hanging up %s', async (what, first, second) => {
    const own = await startService()
    const isRepetition = !what.startsWith('the first')
    const ask = (kind: Waiting) => {
      const gone = new AbortController()
      const ended = own.request(kind === 'sync' ? '/v1/videos/sync' : '/v1/videos', {
        method: 'POST',
        headers: { 'Content-Type': 'application/json', 'Idempotency-Key': 'one' },
        body: JSON.stringify({ ...quickVideo, prompt: 'a fox [sim:step=1]' }),
        signal: gone.signal,
      })
      ended.catch(() => {})
      return { ended, hangUp: () => gone.abort() }
    }
    const one = ask(first)
    const jobs = async () => (await own.json<{ jobs: { id: string }[] }>('/jobs')).jobs
    await expect.poll(jobs).toHaveLength(1)
    const [{ id } = { id: '' }] = await jobs()
    const two = ask(second)
    if (second === 'create') await two.ended
    // The queue takes submissions in their order: it has seen the repetition before this one.
    else await own.submit({ prompt: 'an owl' })
    const leaving = isRepetition ? two : one
    leaving.hangUp()
    await expect(leaving.ended).rejects.toThrow()
    expect(await own.until(id)).toMatchObject({ status: 'success' })
    const staying = isRepetition ? one : two
    expect((await staying.ended).status).toBe(200)
  })

  it('does not cancel it by hanging up while another client waits for its end', async () => {
    const own = await startService()
    const gone = new AbortController()
    const response = wait({ prompt: 'a fox [sim:step=1]' }, own, gone.signal)
    const jobs = async () => (await own.json<{ jobs: { id: string }[] }>('/jobs')).jobs
    await expect.poll(jobs).toHaveLength(1)
    const [{ id } = { id: '' }] = await jobs()
    const events = await own.request(`/jobs/${id}/events`)
    gone.abort()
    await expect(response).rejects.toThrow()
    expect(await events.text()).toContain('"status":"success"')
  })
})

type Waiting = 'sync' | 'create'

describe('what goes wrong under /v1', () => {
  const json = { 'Content-Type': 'application/json' }
  it.each<[string, string, string, RequestInit, number, string]>([
    ['no such route', 'GET', '/v1/nothing', {}, 404, 'route_not_found'],
    ['nothing but the version', 'GET', '/v1', {}, 404, 'route_not_found'],
    ['the wrong method', 'PATCH', '/v1/videos', {}, 405, 'method_not_allowed'],
    ['no body', 'POST', '/v1/videos', {}, 415, 'unsupported_media_type'],
    ['a body of text', 'POST', '/v1/videos', { body: 'a fox' }, 415, 'unsupported_media_type'],
    [
      'half of JSON',
      'POST',
      '/v1/videos',
      { body: '{"prompt"', headers: json },
      400,
      'malformed_body',
    ],
    ['no object', 'POST', '/v1/videos', { body: '[]', headers: json }, 400, 'invalid_prompt'],
    [
      'nothing at all',
      'POST',
      '/v1/videos',
      { body: 'null', headers: json },
      400,
      'invalid_request',
    ],
    [
      'too much of it',
      'POST',
      '/v1/videos',
      { body: huge(), headers: json },
      413,
      'body_too_large',
    ],
    ['no form', 'POST', '/v1/videos', { body: 'x', headers: form }, 400, 'malformed_body'],
    ['a wrong order', 'GET', '/v1/videos?order=up', {}, 400, 'invalid_order'],
    ['an unknown parameter', 'GET', '/v1/videos?colour=red', {}, 400, 'unsupported_parameter'],
    ['no id', 'GET', '/v1/videos?after=x', {}, 400, 'invalid_after'],
  ])('is told in the form of OpenAI: %s', async (_what, method, path, init, status, code) => {
    const response = await service.request(path, { method, ...init })
    expect(response.status).toBe(status)
    expect(response.headers.get('Content-Type')).toMatch(/^application\/json/)
    expect(response.headers.get('X-Request-Id')).toEqual(expect.any(String))
    const { error } = (await response.json()) as { error: Record<string, unknown> }
    expect(Object.keys(error).toSorted()).toEqual(['code', 'message', 'param', 'type'])
    expect(error).toMatchObject({ code, type: 'invalid_request_error' })
  })

  it('is a bad moment when a part of the service is being restarted', async () => {
    const own = await startService({ env: { FAULT_INJECTION: '1' } })
    const seen = new Set<string>()
    const ask = async () => {
      writeFileSync(join(own.dataDir, 'crash'), 'archive')
      own.child.kill('SIGUSR2')
      const response = await own.request('/v1/videos')
      const body = (await response.json()) as { error?: { code: string } }
      seen.add(`${response.status} ${body.error?.code} ${response.headers.get('x-should-retry')}`)
      return seen.has('503 service_busy true')
    }
    await expect.poll(ask, { timeout: 20_000 }).toBe(true)
    expect([...seen].filter((one) => !/^(200|503) /.test(one))).toEqual([])
  })
})

const form = { 'Content-Type': 'multipart/form-data; boundary=b' }
function huge(): string {
  return JSON.stringify({ prompt: 'x'.repeat(22 * 1024 * 1024) })
}

const key = 'k'.repeat(32)
const otherKey = 'o'.repeat(32)

/** WIDTHxHEIGHT of a picture, as ffprobe reads it. */
function sizeOf(picture: Buffer | undefined): string {
  const what = ['-show_entries', 'stream=width,height', '-of', 'csv=p=0:s=x']
  const args = ['-v', 'error', ...what, '-f', 'webp_pipe', '-']
  return execFileSync('ffprobe', args, { input: picture ?? '', encoding: 'utf8' }).trim()
}
