/**
 * What a stock client of OpenAI's Videos API may rely on, in 18 points, with both generations of the
 * npm package against the real service.
 */
import { createReadStream, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import SQLite from 'better-sqlite3'
import { Webhook } from 'standardwebhooks'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { VideoJson } from '../../../src/http/v1/video-view.ts'
import { aDroppingProxy } from '../../support/dropping-proxy.ts'
import {
  type Client,
  create,
  failureOf,
  generations,
  lastOf,
  openAiAt,
  untilOver,
} from '../../support/openai.ts'
import { aPicture, pngHeader } from '../../support/pictures.ts'
import { startReceiver } from '../../support/receiver.ts'
import {
  aDataDirectory,
  createShared,
  processesOf,
  type Service,
  startService,
} from '../../support/service.ts'
import { isOnPostgres } from '../../support/store/shared-postgres.ts'

const shared = createShared()
let service: Service
beforeAll(async () => {
  service = await startService({ atEnd: shared.atEnd, env: { WEBHOOK_ALLOW: '127.0.0.1' } })
})
afterAll(shared.clearAway)

const jobOf = (videoId: string): string => videoId.slice('video_'.length)

const filesOf = (dataDir: string) =>
  readdirSync(dataDir, { recursive: true, encoding: 'utf8' })
    .filter((path) => /^(work|results|logs|previews)\//.test(path))
    .toSorted()

describe.each(generations)('%s', (name, Generation) => {
  let openai: Client
  beforeAll(() => {
    openai = openAiAt(Generation, service.url)
  })

  it('1: is given all fields, with their types, for nothing but a prompt', async () => {
    const created = openai.videos.create({ prompt: 'a fox [sim:hang-step]' })
    const { data: video, response, request_id } = await created.withResponse()
    expect(response.status).toBe(200)
    expect(response.headers.get('Location')).toBe(`/v1/videos/${video.id}`)
    expect(request_id).toEqual(expect.any(String))
    expect(video).toMatchObject({
      id: expect.stringMatching(/^video_[\da-f-]{36}$/),
      object: 'video',
      model: 'wan2.2-ti2v-5b',
      status: expect.stringMatching(/^(queued|in_progress)$/),
      progress: expect.any(Number),
      created_at: expect.toSatisfy(Number.isInteger),
      completed_at: null,
      expires_at: null,
      prompt: 'a fox [sim:hang-step]',
      size: '720x1280',
      seconds: '5',
      remixed_from_video_id: null,
      error: null,
    })
    expect(Math.abs(video.created_at - Date.now() / 1_000)).toBeLessThan(60)
    await openai.videos.delete(video.id)
  })

  it('2: has numbers reach the script, and texts that are none refused', async () => {
    const { id } = await create(openai, { seed: 42, num_inference_steps: 7 })
    expect(lastOf(await untilOver(openai, id))).toMatchObject({ status: 'completed', seed: 42 })
    const log = await (await service.request(`/jobs/${jobOf(id)}/log`)).text()
    expect(log).toContain('base_seed=42')
    expect(log).toContain('sample_steps=7')
    const error = await failureOf(create(openai, { num_inference_steps: '30abc' }))
    expect(error).toBeInstanceOf(Generation.BadRequestError)
    expect(error).toMatchObject({
      param: 'num_inference_steps',
      code: 'invalid_num_inference_steps',
    })
  })

  it('3: begins with a file, a stream or a data URL, and with nothing else', async () => {
    const pictures = aDataDirectory()
    const path = aPicture(pictures, 'a.png')
    const bytes = readFileSync(path)
    const image_url = `data:image/png;base64,${bytes.toString('base64')}`
    for (const reference of [new File([bytes], 'a.png'), createReadStream(path), { image_url }]) {
      const { id } = await create(openai, { input_reference: reference })
      expect(lastOf(await untilOver(openai, id)).status).toBe('completed')
    }
    const text = new File(['no picture'], 'a.png', { type: 'image/png' })
    expect(await failureOf(create(openai, { input_reference: text }))).toMatchObject({
      status: 400,
      code: 'invalid_input_reference',
    })
    const large = new File([pngHeader(64, 64), new Uint8Array(22_000_000)], 'a.png')
    openai.sent()
    expect(await failureOf(create(openai, { input_reference: large }))).toMatchObject({
      status: 413,
      code: 'body_too_large',
    })
    expect(openai.sent()).toHaveLength(1)
  })

  it('4: sees a video through to its end', async () => {
    const video = { prompt: 'a heron [sim:step=0.1]', num_inference_steps: 8 }
    const { id } = await create(openai, video)
    const polled = await openai.videos.retrieve(id).withResponse()
    expect(Number(polled.response.headers.get('openai-poll-after-ms'))).toBeGreaterThanOrEqual(500)
    const seen = await untilOver(openai, id)
    const progress = seen.map((one) => one.progress)
    expect(progress).toEqual(progress.toSorted((a, b) => a - b))
    expect(seen.slice(0, -1).every((one) => one.progress < 100)).toBe(true)
    expect(lastOf(seen)).toMatchObject({ status: 'completed', progress: 100, error: null })
    expect(lastOf(seen).completed_at).toBeGreaterThanOrEqual(lastOf(seen).created_at)
  })

  it('5: is told of a failure without an error of its own, in one request', async () => {
    const { id } = await create(openai, { prompt: 'a fox [sim:exit-1]' })
    await untilOver(openai, id)
    openai.sent()
    expect(await openai.videos.retrieve(id)).toMatchObject({
      status: 'failed',
      error: { code: 'generation_failed', message: expect.any(String) },
    })
    expect(openai.sent()).toEqual([`GET /v1/videos/${id}`])
  })

  it('6: takes no script that leaves no file at its word', async () => {
    const { id } = await create(openai, { prompt: 'a fox [sim:no-file-silent]' })
    expect(lastOf(await untilOver(openai, id))).toMatchObject({
      status: 'failed',
      error: { code: 'no_output' },
    })
  })

  it('7: lists every video once, in both orders, also when one goes between pages', async () => {
    const own = await startService()
    const client = openAiAt(Generation, own.url)
    const ids: string[] = []
    for (let n = 0; n < 5; n++) {
      ids.push((await create(client, { prompt: `fox ${n} [sim:hang-step]` })).id)
    }
    const listed = async (order: 'asc' | 'desc', between: (id: string) => Promise<unknown>) => {
      const seen: string[] = []
      for await (const video of client.videos.list({ limit: 2, order })) {
        seen.push(video.id)
        await between(video.id)
      }
      return seen
    }
    expect(await listed('asc', async () => {})).toEqual(ids)
    expect(await listed('desc', async () => {})).toEqual(ids.toReversed())
    // The last one of the first page is what the second page is asked for by.
    const deleting = async (id: string) => id === ids[1] && (await client.videos.delete(id))
    expect(await listed('asc', deleting)).toEqual(ids)
    expect(await listed('asc', async () => {})).toEqual(ids.toSpliced(1, 1))
  })

  it('8: downloads the file whole or in part, and its pictures, and nothing too early', async () => {
    const { id } = await create(openai, { size: '1280x720' })
    await untilOver(openai, id)
    const { filename } = await service.status(jobOf(id))
    const file = readFileSync(join(service.dataDir, 'results', filename ?? ''))
    const whole = await openai.videos.downloadContent(id)
    expect(Buffer.from(await whole.arrayBuffer()).equals(file)).toBe(true)

    const range = (Range: string) => openai.videos.downloadContent(id, {}, { headers: { Range } })
    const part = await range('bytes=0-1')
    expect(part.status).toBe(206)
    expect(part.headers.get('Content-Range')).toBe(`bytes 0-1/${file.length}`)
    expect(Buffer.from(await part.arrayBuffer())).toEqual(file.subarray(0, 2))
    expect(await failureOf(range('bytes=999999999-'))).toMatchObject({ status: 416 })
    const thumbnail = await openai.videos.downloadContent(id, { variant: 'thumbnail' })
    expect(thumbnail.headers.get('Content-Type')).toBe('image/webp')
    await thumbnail.blob()

    const slow = await create(openai, { prompt: 'a slow fox [sim:hang-step]' })
    openai.sent()
    const error = await failureOf(openai.videos.downloadContent(slow.id))
    expect(error).toBeInstanceOf(Generation.NotFoundError)
    expect(error).toMatchObject({ code: 'video_not_ready' })
    expect(openai.sent()).toHaveLength(1)
    await openai.videos.delete(slow.id)
  })

  it('9: deletes what waits, runs or is finished, with all that was of it', async () => {
    const own = await startService({ env: { GPU_IDS: '0' } })
    const client = openAiAt(Generation, own.url)
    const finished = await create(client, { prompt: 'finished' })
    await untilOver(client, finished.id)
    await (await client.videos.downloadContent(finished.id, { variant: 'thumbnail' })).blob()
    const running = await create(client, { prompt: 'running [sim:hang-step][sim:strays]' })
    await own.until(jobOf(running.id), ({ stage }) => stage === 'denoising')
    const waiting = await create(client, { prompt: 'waiting' })

    for (const { id } of [waiting, running, finished]) {
      const deleted = { id, object: 'video.deleted', deleted: true }
      expect(await client.videos.delete(id)).toEqual(deleted)
      expect(processesOf(jobOf(id))).toEqual([])
      for (const gone of [() => client.videos.retrieve(id), () => client.videos.delete(id)]) {
        const error = await failureOf(gone())
        expect(error).toBeInstanceOf(Generation.NotFoundError)
        expect(error).toMatchObject({ code: 'video_not_found' })
      }
      expect((await own.request(`/status/${jobOf(id)}`)).status).toBe(404)
    }
    expect(await own.json('/jobs')).toMatchObject({ jobs: [] })
    expect(filesOf(own.dataDir)).toEqual([])
  })

  it('10: cancels what runs, for good', async () => {
    const own = await startService()
    const client = openAiAt(Generation, own.url)
    const { id } = await create(client, { prompt: 'a fox [sim:hang-step]' })
    await own.until(jobOf(id), ({ stage }) => stage === 'denoising')
    const cancel = () => client.client.post(`/videos/${id}/cancel`) as Promise<VideoJson>
    const cancelled = { status: 'failed', error: { code: 'cancelled' } }
    expect(await cancel()).toMatchObject({ ...cancelled, cancelled_at: expect.any(Number) })
    expect(processesOf(jobOf(id))).toEqual([])
    expect(await client.videos.retrieve(id)).toMatchObject(cancelled)
    client.sent()
    expect(await failureOf(cancel())).toMatchObject({ status: 409, code: 'not_cancellable' })
    expect(client.sent()).toHaveLength(1)

    await own.stop('SIGKILL')
    const next = await startService({ dataDir: own.dataDir })
    expect(await openAiAt(Generation, next.url).videos.retrieve(id)).toMatchObject(cancelled)
  })

  it('11: has one video of a request whose answer was lost, and two of two requests', async () => {
    const proxy = await aDroppingProxy(service.url, 2)
    const client = openAiAt(Generation, proxy.url)
    const prompt = `a fox lost by ${name}`
    const { id } = await create(client, { prompt })
    expect(proxy.dropped()).toBe(2)
    const found = async () => {
      const query = new URLSearchParams({ prompt, all: 'true' })
      return (await service.json<{ jobs: { id: string }[] }>(`/jobs/lookup?${query}`)).jobs
    }
    expect(await found()).toMatchObject([{ id: jobOf(id) }])
    await Promise.all([create(openai, { prompt }), create(openai, { prompt })])
    expect(await found()).toHaveLength(3)
  })

  it('12: has one video for a key, and none for another request with it', async () => {
    const headers = { 'Idempotency-Key': crypto.randomUUID() }
    const first = await create(openai, {}, { headers })
    expect((await create(openai, {}, { headers })).id).toBe(first.id)
    const error = await failureOf(create(openai, { seed: 1 }, { headers }))
    expect(error).toBeInstanceOf(Generation.UnprocessableEntityError)
    expect(error).toMatchObject({ code: 'idempotency_key_reuse' })
  })

  it.skipIf(isOnPostgres)(
    '13: does not ask a full queue again, and waits by itself for its turn',
    {
      timeout: 180_000,
    },
    async () => {
      const full = await startService({ env: { MAX_QUEUE: '1', GPU_IDS: '0' } })
      const client = openAiAt(Generation, full.url)
      const running = await create(client, { prompt: 'a fox [sim:hang-step]' })
      await full.until(jobOf(running.id), ({ status }) => status === 'running')
      await create(client, {})
      client.sent()
      const error = await failureOf(create(client, {}))
      expect(error).toBeInstanceOf(Generation.RateLimitError)
      expect(error).toMatchObject({
        code: 'queue_full',
        error: { eta_seconds: expect.toSatisfy((seconds) => seconds > 0) },
      })
      // It sleeps only before it asks again.
      expect(client.sent()).toHaveLength(1)

      expect(await requestsUntilTaken(Generation)).toBe(2)
    },
  )

  it('14: is nobody without a key, and told in this API’s form', async () => {
    const key = 'k'.repeat(32)
    const own = await startService({ env: { API_TOKENS: `fox:${key}` } })
    for (const wrong of ['wrong', `${key}x`]) {
      const stranger = openAiAt(Generation, own.url, wrong)
      for (const call of [() => stranger.videos.list(), () => create(stranger, {})]) {
        const error = await failureOf(call())
        expect(error).toBeInstanceOf(Generation.AuthenticationError)
        expect(error).toMatchObject({ code: 'invalid_api_key' })
        expect(stranger.sent()).toHaveLength(1)
      }
    }
    const bare = await own.request('/v1/videos')
    expect(bare.status).toBe(401)
    expect(await bare.json()).toMatchObject({ error: { code: 'invalid_api_key' } })
    const error = await failureOf(openAiAt(Generation, own.url, key).client.get('/nowhere'))
    expect(error).toBeInstanceOf(Generation.NotFoundError)
    expect(error).toMatchObject({ code: 'route_not_found' })
  })

  it('15: finds nothing by an id that is a path, and touches no file', async () => {
    const before = filesOf(service.dataDir)
    for (const id of ['../x', 'a/b c', '%2e%2e', '../../results']) {
      for (const call of [
        () => openai.videos.retrieve(id),
        () => openai.videos.downloadContent(id),
        () => openai.videos.delete(id),
      ]) {
        const error = await failureOf(call())
        expect(error).toBeInstanceOf(Generation.NotFoundError)
        expect(error).toMatchObject({ code: 'video_not_found' })
      }
    }
    expect(filesOf(service.dataDir)).toEqual(before)
  })

  it('16: verifies what webhooks are told, while a secret is changed too', async () => {
    const receiver = await startReceiver()
    const created = await create(openai, { webhook_url: receiver.url })
    const { webhook_id, webhook_secret } = created as VideoJson & Record<string, string>
    const [told] = await receiver.until(1)
    const { body, headers, event } = told ?? expect.fail('nothing was told')
    expect(event).toMatchObject({ type: 'video.completed', data: { id: created.id } })
    const unwrap = (text: string, given: Record<string, string>, secret: string | undefined) =>
      openai.client.webhooks.unwrap(text, given, secret)
    expect(await unwrap(body, headers, webhook_secret)).toEqual(event)

    const refused = Generation.InvalidWebhookSignatureError
    const another = body.replace(created.id, `video_${crypto.randomUUID()}`)
    await expect(unwrap(another, headers, webhook_secret)).rejects.toBeInstanceOf(refused)
    const then = new Date(Date.now() - 301_000)
    const old = {
      'webhook-id': event.id,
      'webhook-timestamp': String(Math.floor(then.getTime() / 1_000)),
      'webhook-signature': new Webhook(webhook_secret ?? '').sign(event.id, then, body),
    }
    await expect(unwrap(body, old, webhook_secret)).rejects.toBeInstanceOf(refused)

    const post = (path: string) => service.json<Record<string, string>>(path, { method: 'POST' })
    const { secret: next } = await post(`/webhook/${webhook_id}/rotate`)
    await post(`/webhook/deliveries/${event.id}/replay`)
    const again = lastOf(await receiver.until(2))
    for (const secret of [webhook_secret, next]) {
      expect(await unwrap(again.body, again.headers, secret)).toEqual(event)
    }
  })

  it('17: finds a video again that was accepted before the service was killed', async () => {
    const own = await startService()
    const { id } = await create(openAiAt(Generation, own.url), { prompt: 'a fox [sim:step=0.1]' })
    await own.stop('SIGKILL')
    const next = await startService({ dataDir: own.dataDir })
    const client = openAiAt(Generation, next.url)
    expect(lastOf(await untilOver(client, id))).toMatchObject({ id, status: 'completed' })
  })

  it('18: remixes a video, and is told once of what cannot be done', async () => {
    const made = await create(openai, { seed: 5, size: '1280x704' })
    const source = lastOf(await untilOver(openai, made.id))
    const remix = await openai.videos.remix(source.id, { prompt: 'an owl' })
    expect(remix).toMatchObject({
      prompt: 'an owl',
      remixed_from_video_id: source.id,
      seed: 5,
      size: '1280x704',
      num_frames: 5,
    })
    expect(lastOf(await untilOver(openai, remix.id)).status).toBe('completed')

    const video = { id: source.id }
    const file = new File(['x'], 'x.mp4')
    for (const attempt of [
      () => openai.videos.edit({ prompt: 'x', video }),
      () => openai.videos.extend({ prompt: 'x', seconds: '4', video }),
      () => openai.videos.createCharacter({ name: 'x', video: file }),
    ]) {
      openai.sent()
      expect(await failureOf(attempt())).toMatchObject({ status: 501, code: 'not_supported' })
      expect(openai.sent()).toHaveLength(1)
    }
  })
})

/**
 * How often a client asks whose hour is almost over when it asks first. Where the service takes so
 * long to start that the hour is over by then, it is tried with more time.
 */
async function requestsUntilTaken(Generation: (typeof generations)[number][1]): Promise<number> {
  const env = { JOBS_PER_HOUR: '1' }
  for (const secondsLeft of [4, 12, 28]) {
    const first = await startService({ env })
    await create(openAiAt(Generation, first.url), {})
    await first.stop('SIGKILL')
    const db = new SQLite(join(first.dataDir, 'state.db'))
    db.prepare('update submission set at = ?').run(Date.now() - (3_600 - secondsLeft) * 1_000)
    db.close()
    const again = await startService({ env, dataDir: first.dataDir })
    const client = openAiAt(Generation, again.url)
    expect(await create(client, {})).toMatchObject({ object: 'video' })
    const { length } = client.sent()
    if (length > 1) return length
  }
  return 1
}
