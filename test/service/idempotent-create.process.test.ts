/** Requests that come twice, by a broken network or by a client that is not sure: one job. */
import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { JobJson } from '../../src/http/views/job-view.ts'
import { aDroppingProxy } from '../support/dropping-proxy.ts'
import { create, failureOf, generations, openAiAt, untilOver } from '../support/openai.ts'
import { aPicture } from '../support/pictures.ts'
import {
  aDataDirectory,
  createShared,
  quick,
  type Service,
  startService,
} from '../support/service.ts'

const shared = createShared()
let service: Service
beforeAll(async () => {
  service = await startService({ atEnd: shared.atEnd })
})
afterAll(shared.clearAway)

const jobsOf = async (prompt: string, of = service) => {
  const { jobs } = await of.json<{ jobs: JobJson[] }>('/jobs?limit=200')
  return jobs.filter((job) => job.prompt === prompt)
}

const post = (body: object, headers: Record<string, string>, of = service) =>
  of.request('/generate', {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', ...headers },
    body: JSON.stringify({ ...quick, ...body }),
  })

describe.each(generations)('%s', (name, Generation) => {
  it('makes one video of a request whose first answers were lost', async () => {
    const proxy = await aDroppingProxy(service.url, 2)
    const client = openAiAt(Generation, proxy.url)
    const prompt = `lost by ${name}`
    const { id } = await create(client, { prompt })
    expect(proxy.dropped()).toBe(2)
    expect(client.sent()).toHaveLength(3)
    expect((await jobsOf(prompt)).map((job) => `video_${job.id}`)).toEqual([id])
  })

  it('makes one video of a picture whose first answer was lost', async () => {
    const proxy = await aDroppingProxy(service.url, 1)
    const prompt = `a picture lost by ${name}`
    const bytes = readFileSync(aPicture(aDataDirectory(), 'a.png'))
    const input_reference = new File([bytes], 'a.png')
    const client = openAiAt(Generation, proxy.url)
    const { id } = await create(client, { prompt, input_reference })
    expect(proxy.dropped()).toBe(1)
    expect((await jobsOf(prompt)).map((job) => `video_${job.id}`)).toEqual([id])
    expect((await untilOver(openAiAt(Generation, service.url), id)).at(-1)?.status).toBe(
      'completed',
    )
  })

  it('makes as many videos as it is asked for when nothing is lost', async () => {
    const prompt = `asked for twice by ${name}`
    const client = openAiAt(Generation, service.url)
    const [one, two] = await Promise.all([create(client, { prompt }), create(client, { prompt })])
    expect(one.id).not.toBe(two.id)
    expect(await jobsOf(prompt)).toHaveLength(2)
  })

  it('makes two videos of what two clients have lost', async () => {
    const [fox, owl] = ['f'.repeat(32), 'o'.repeat(32)]
    const own = await startService({
      env: { API_TOKENS: `fox:${fox},owl:${owl},ops:${'x'.repeat(32)}:admin` },
    })
    const proxy = await aDroppingProxy(own.url, 2)
    const videos = await Promise.all(
      [fox, owl].map((token) => create(openAiAt(Generation, proxy.url, token), { prompt: 'same' })),
    )
    expect(new Set(videos.map(({ id }) => id)).size).toBe(2)
    expect(await jobsOf('same', own.as('x'.repeat(32)) as Service)).toHaveLength(2)
  })

  it('gets the webhook of a video whose first answer was lost', async () => {
    const proxy = await aDroppingProxy(service.url, 1)
    const client = openAiAt(Generation, proxy.url)
    const prompt = `told to ${name}`
    const request = { prompt, webhook_url: 'https://example.org/hook' }
    const video = (await create(client, request)) as unknown as Record<string, string>
    expect(proxy.dropped()).toBe(1)
    expect(video.webhook_secret).toMatch(/^whsec_/)
    expect(await service.json(`/webhook/${video.webhook_id}`)).toMatchObject({ status: 'active' })
    expect(await jobsOf(prompt)).toHaveLength(1)
  })

  it('makes one video for a key, and none for another request with it', async () => {
    const client = openAiAt(Generation, service.url)
    const prompt = `keyed by ${name}`
    const options = { headers: { 'Idempotency-Key': `key of ${name}`.replaceAll(' ', '-') } }
    const first = await create(client, { prompt }, options)
    const second = await create(client, { prompt }, options)
    expect(second.id).toBe(first.id)
    const error = await failureOf(create(client, { prompt, seed: 1 }, options))
    expect(error).toBeInstanceOf(Generation.UnprocessableEntityError)
    expect(error).toMatchObject({ code: 'idempotency_key_reuse', param: 'Idempotency-Key' })
    expect(await jobsOf(prompt)).toHaveLength(1)
  })
})

describe('POST /generate with a key', () => {
  it('answers a repeated request with the job that is there, as it is by now', async () => {
    const headers = { 'Idempotency-Key': 'one' }
    const first = await post({ prompt: 'twice' }, headers)
    expect(first.status).toBe(202)
    expect(first.headers.has('Idempotent-Replayed')).toBe(false)
    const { id, seed } = (await first.json()) as JobJson
    await service.until(id)
    const second = await post({ prompt: 'twice' }, headers)
    expect(second.status).toBe(202)
    expect(second.headers.get('Idempotent-Replayed')).toBe('true')
    expect(second.headers.get('Location')).toBe(`/status/${id}`)
    expect(await second.json()).toMatchObject({ id, seed, status: 'success' })
    const other = await post({ prompt: 'something else' }, headers)
    expect(other.status).toBe(422)
    expect(await other.json()).toMatchObject({ code: 'idempotency_key_reuse' })
  })

  it('makes one job of many that come at the same time', async () => {
    const headers = { 'Idempotency-Key': 'at-once' }
    const answers = await Promise.all(
      Array.from({ length: 12 }, () => post({ prompt: 'at once' }, headers)),
    )
    const ids = await Promise.all(
      answers.map(async (answer) => ((await answer.json()) as JobJson).id),
    )
    expect(answers.every(({ status }) => status === 202)).toBe(true)
    expect(new Set(ids).size).toBe(1)
    const replayed = answers.filter(({ headers }) => headers.has('Idempotent-Replayed'))
    expect(replayed).toHaveLength(11)
    expect(await jobsOf('at once')).toHaveLength(1)
  })

  it('knows the key again after it was killed, and the one who tries again', async () => {
    const own = await startService({ env: { GPU_IDS: '0' } })
    const headers = { 'Idempotency-Key': 'kept' }
    const keyed = (await (await post({ prompt: 'keyed' }, headers, own)).json()) as JobJson
    const bare = (await (await post({ prompt: 'bare' }, {}, own)).json()) as JobJson
    await own.stop('SIGKILL')
    const next = await startService({ dataDir: own.dataDir, env: { GPU_IDS: '0' } })
    const again = await post({ prompt: 'keyed' }, headers, next)
    expect(await again.json()).toMatchObject({ id: keyed.id })
    expect((await post({ prompt: 'else' }, headers, next)).status).toBe(422)
    const retried = await post({ prompt: 'bare' }, { 'X-Stainless-Retry-Count': '1' }, next)
    expect(await retried.json()).toMatchObject({ id: bare.id })
    expect((await next.json<{ jobs: JobJson[] }>('/jobs')).jobs).toHaveLength(2)
  })

  it('does not let a picture pass for another one', async () => {
    const directory = aDataDirectory()
    const send = (name: string, size: string) => {
      const body = new FormData()
      const image = new Blob([readFileSync(aPicture(directory, name, size))])
      const fields = { prompt: 'pictures', size: '1280x720', frames: '5', steps: '4', image }
      for (const [name, value] of Object.entries(fields)) body.append(name, value)
      return service.request('/generate', {
        method: 'POST',
        headers: { 'Idempotency-Key': 'pictures' },
        body,
      })
    }
    const { id } = (await (await send('a.png', '64x64')).json()) as JobJson
    expect(await (await send('again.png', '64x64')).json()).toMatchObject({ id })
    expect((await send('another.png', '64x48')).status).toBe(422)
    expect(await jobsOf('pictures')).toHaveLength(1)
  })

  it('says that the job of a repeated request has been deleted', async () => {
    const headers = { 'Idempotency-Key': 'deleted' }
    const { id } = (await (await post({ prompt: 'deleted' }, headers)).json()) as JobJson
    await service.request(`/v1/videos/video_${id}`, { method: 'DELETE' })
    const response = await post({ prompt: 'deleted' }, headers)
    expect(response.status).toBe(422)
    expect(await response.json()).toMatchObject({
      code: 'idempotency_key_reuse',
      detail: expect.stringContaining('deleted'),
    })
    expect(await jobsOf('deleted')).toEqual([])
  })

  it('returns the webhook of the job again, to the client that has submitted it only', async () => {
    const [fox, owl] = ['f'.repeat(32), 'o'.repeat(32)]
    const API_TOKENS = `fox:${fox},owl:${owl}`
    const own = await startService({ env: { API_TOKENS } })
    const headers = { 'Idempotency-Key': 'with-webhook' }
    const body = { prompt: 'told', webhook_url: 'https://example.org/hook' }
    type Taken = { id: string; webhook_id?: string; webhook_secret?: string }
    const create = async (token: string, of = own) =>
      (await (await post(body, headers, of.as(token) as Service)).json()) as Taken
    const first = await create(fox)
    expect(first.webhook_secret).toMatch(/^whsec_/)
    expect(await create(fox)).toMatchObject({ id: first.id, ...webhookOf(first) })
    const other = await create(owl)
    expect(other.id).not.toBe(first.id)
    expect(other.webhook_secret).not.toBe(first.webhook_secret)
    expect(other.webhook_id).not.toBe(first.webhook_id)

    await own.stop('SIGKILL')
    const next = await startService({ dataDir: own.dataDir, env: { API_TOKENS } })
    expect(await create(fox, next)).toMatchObject({ id: first.id, ...webhookOf(first) })
    const { webhook_id } = first
    const rotation = await next
      .as(fox)
      .json<{ secret: string }>(`/webhook/${webhook_id}/rotate`, { method: 'POST' })
    expect(await create(fox, next)).toMatchObject({ webhook_id, webhook_secret: rotation.secret })
    await next.as(fox).request(`/webhook/${webhook_id}`, { method: 'DELETE' })
    const last = await create(fox, next)
    expect(last.id).toBe(first.id)
    expect(last).not.toHaveProperty('webhook_secret')
    expect(next.allLogs()).not.toContain(first.webhook_secret)

    function webhookOf({ webhook_id, webhook_secret }: Taken) {
      return { webhook_id, webhook_secret }
    }
  })

  it.each(['', 'a b', 'é', 'x'.repeat(256)])('refuses the key "%s"', async (key) => {
    const response = await post({ prompt: 'a fox' }, { 'Idempotency-Key': key })
    expect(response.status).toBe(422)
    expect(await response.json()).toMatchObject({ field: 'Idempotency-Key' })
  })
})
