import { existsSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Document } from '../../bench/fuzz/contract.ts'
import type { JobJson } from '../../src/http/views/job-view.ts'
import { jobId } from '../support/jobs.ts'
import { startReceiver } from '../support/receiver.ts'
import { accessOfTheApp } from '../support/routes.ts'
import {
  createShared,
  processesOf,
  type Service,
  type ServiceClient,
  startService,
} from '../support/service.ts'
import { isOnPostgres } from '../support/store/shared-postgres.ts'

/** Of this run alone: whoever else has one has it from us. */
const tokens = {
  ada: `token-of-ada-${crypto.randomUUID()}`,
  bob: `token-of-bob-${crypto.randomUUID()}`,
  ops: `token-of-ops-${crypto.randomUUID()}`,
}
const access = accessOfTheApp()
const API_TOKENS = `ada:${tokens.ada},bob:${tokens.bob},ops:${tokens.ops}:admin`

const shared = createShared()
let service: Service
let ada: ServiceClient
let bob: ServiceClient
let ops: ServiceClient
beforeAll(async () => {
  service = await startService({ atEnd: shared.atEnd, env: { API_TOKENS, GPU_IDS: '0' } })
  ada = service.as(tokens.ada)
  bob = service.as(tokens.bob)
  ops = service.as(tokens.ops)
})
afterAll(shared.clearAway)

const unknownId = jobId(99)

const problemOf = async (response: Response) => {
  expect(response.headers.get('Content-Type')).toBe('application/problem+json')
  return { status: response.status, ...((await response.json()) as { code: string }) }
}

describe('a service with tokens', () => {
  it.each([
    ['no token', {}],
    ['an unknown token', { Authorization: 'Bearer token-of-eve-0123456789' }],
    ['half a token', { Authorization: `Bearer ${tokens.ada.slice(0, -1)}` }],
    ['a token and more', { Authorization: `Bearer ${tokens.ada}x` }],
    ['two tokens', { Authorization: `Bearer ${tokens.ada} ${tokens.bob}` }],
    ['a name', { Authorization: 'Bearer ada' }],
    ['a token without its scheme', { Authorization: tokens.ada }],
    ['a password', { Authorization: `Basic ${btoa(`ada:${tokens.ada}`)}` }],
    ['an empty header', { Authorization: '' }],
  ])('answers 401 to %s', async (_, headers) => {
    const response = await service.request('/jobs', { headers })
    expect(response.headers.get('WWW-Authenticate')).toBe('Bearer')
    expect(await problemOf(response)).toMatchObject({ status: 401, code: 'unauthorized' })
  })

  it('takes a token whatever the case of its scheme', async () => {
    const headers = { Authorization: `bearer ${tokens.ada}` }
    expect((await service.request('/jobs', { headers })).status).toBe(200)
  })

  it.each([...access].filter(([, who]) => !['anybody', 'probe', 'stranger'].includes(who ?? '')))(
    'lets no stranger use %s',
    async (route) => {
      const [method, path = ''] = route.split(' ')
      const init = { ...(method && { method }) }
      const response = await service.request(path.replace(/:\w+/g, 'x'), init)
      expect(response.status).toBe(401)
    },
  )

  it('says to whoever asks who that is', async () => {
    const who = async (client: ServiceClient) => (await client.request('/whoami')).json()
    expect(await who(service)).toEqual({ name: null, is_admin: false, needs_token: true })
    expect(await who(ada)).toEqual({ name: 'ada', is_admin: false, needs_token: false })
    expect(await who(ops)).toEqual({ name: 'ops', is_admin: true, needs_token: false })
    expect((await service.as('of-nobody').request('/whoami')).status).toBe(401)
    const open = await startService()
    expect(await who(open)).toEqual({ name: null, is_admin: true, needs_token: false })
  })

  it('tells strangers of no route', async () => {
    expect((await service.request('/nothing')).status).toBe(401)
    expect((await service.request('/jobs', { method: 'PATCH' })).status).toBe(401)
    expect((await ada.request('/nothing')).status).toBe(404)
    expect((await ada.request('/jobs', { method: 'PATCH' })).status).toBe(405)
  })

  it.each(['/health', '/ready'])('answers anybody at %s', async (path) => {
    expect((await service.request(path)).status).not.toBe(401)
    expect((await service.as('of-nobody').request(path)).status).not.toBe(401)
  })

  it('shows the details of GET /ready to clients only', async () => {
    const checks = async (client: ServiceClient) =>
      (await client.json<{ checks: { name: string; detail: string }[] }>('/ready')).checks
    for (const client of [service, service.as('of-nobody')]) {
      const shown = await checks(client)
      expect(shown.map(({ name }) => name)).toContain('database')
      for (const { detail } of shown) expect(detail).toBe('Send a token to read this.')
    }
    expect((await checks(ada)).map(({ detail }) => detail)).toContain('usable: 0')
  })

  it.each([...access].filter(([, who]) => who === 'admin'))(
    'lets only admins use %s',
    async (route) => {
      const [method = '', path = ''] = route.split(' ')
      const ask = (client: ServiceClient) => client.request(path.replace(/:\w+/, '7'), { method })
      expect(await problemOf(await ask(ada))).toMatchObject({ status: 403, code: 'forbidden' })
      expect((await ask(ops)).status).toBe(path.includes(':') ? 404 : 200)
    },
  )

  it.each(['/jobs', '/videos'])('deletes all of %s for admins only', async (path) => {
    const ask = (client: ServiceClient) => client.request(`${path}?all=true`, { method: 'DELETE' })
    const id = await bob.submit({ prompt: 'a fox' })
    await bob.until(id)
    expect(await problemOf(await ask(ada))).toMatchObject({
      status: 403,
      code: 'forbidden',
      field: 'all',
    })
    expect((await bob.status(id)).file_deleted_at).toBeNull()
    expect((await ask(ops)).status).toBe(200)
  })

  it.skipIf(isOnPostgres)(
    'writes no token anywhere, and hands none to what it starts',
    async () => {
      const id = await ada.submit({ prompt: 'a fox [sim:step=0.2]' })
      await ada.until(id, ({ stage }) => stage === 'denoising')
      expect(processesOf(`WAN_ATTEMPT=${id}`)).not.toEqual([])
      expect(processesOf(tokens.ada)).toEqual([service.child.pid])
      await service.request('/jobs', { headers: { Authorization: `Bearer ${tokens.ada}x` } })
      const database = ['state.db', 'state.db-wal'].map((file) =>
        readFileSync(join(service.dataDir, file), 'latin1'),
      )
      expect(service.log('listening')).toHaveLength(1)
      for (const text of [...database, service.allLogs(), service.stderr()]) {
        expect(text).not.toContain(tokens.ada)
      }
    },
  )
})

describe('a service that others can reach', () => {
  const warning = 'others can reach this address, and nobody is asked for a token'

  it.each([
    ['without tokens, warns of it', {}, 1],
    ['with tokens, has nothing to warn of', { API_TOKENS }, 0],
  ])('%s', async (_, env, warnings) => {
    const reachable = await startService({ env: { HOST: '0.0.0.0', GPU_IDS: '0', ...env } })
    await expect.poll(() => reachable.log(warning)).toHaveLength(warnings)
  })
})

/** How to ask each route for a job that is done, as somebody whose it is not: nothing may tell. */
const attempts: Record<string, Readonly<{ status: number; paths(job: JobJson): string[] }>> = {
  'GET /status/:id': { status: 404, paths: ({ id }) => [`/status/${id}`] },
  'GET /jobs': {
    status: 200,
    paths: ({ id }) => [`/jobs?after=${id}`, `/jobs?after=${id}&order=asc`],
  },
  'GET /jobs/lookup': { status: 404, paths: ({ prompt }) => lookups(prompt) },
  'GET /jobs/:id': { status: 404, paths: ({ id }) => [`/jobs/${id}`] },
  'POST /jobs/:id/pin': { status: 404, paths: ({ id }) => [`/jobs/${id}/pin`] },
  'POST /jobs/:id/unpin': { status: 404, paths: ({ id }) => [`/jobs/${id}/unpin`] },
  'GET /jobs/:id/log': { status: 404, paths: ({ id }) => [`/jobs/${id}/log`] },
  'GET /jobs/:id/events': { status: 404, paths: ({ id }) => [`/jobs/${id}/events`] },
  'GET /jobs/:id/thumbnail': { status: 404, paths: ({ id }) => [`/jobs/${id}/thumbnail`] },
  'GET /eta/next': { status: 200, paths: () => ['/eta/next'] },
  'GET /eta/outcomes': { status: 200, paths: () => ['/eta/outcomes'] },
  'DELETE /jobs': {
    status: 404,
    paths: ({ id }) => [`/jobs?ids=${id}`, `/jobs?ids=${id}&delete_files=true`],
  },
  'GET /videos': {
    status: 200,
    paths: ({ id }) => [`/videos?after=${id}`, `/videos?after=${id}&order=asc`],
  },
  'DELETE /videos': {
    status: 200,
    paths: ({ id, filename }) => [`/videos?ids=${id}`, `/videos?filenames=${filename}`],
  },
  'GET /files/:filename': { status: 404, paths: ({ filename }) => [`/files/${filename}`] },
  'HEAD /files/:filename': { status: 404, paths: ({ filename }) => [`/files/${filename}`] },
  'GET /v1/videos': {
    status: 200,
    paths: ({ id }) => ['asc', 'desc'].map((to) => `/v1/videos?after=video_${id}&order=${to}`),
  },
  'GET /v1/videos/:id': { status: 404, paths: ({ id }) => [`/v1/videos/video_${id}`] },
  'DELETE /v1/videos/:id': { status: 404, paths: ({ id }) => [`/v1/videos/video_${id}`] },
  'POST /v1/videos/:id/cancel': {
    status: 404,
    paths: ({ id }) => [`/v1/videos/video_${id}/cancel`],
  },
  'POST /v1/videos/:id/remix': { status: 404, paths: ({ id }) => [`/v1/videos/video_${id}/remix`] },
  'GET /v1/videos/:id/content': {
    status: 404,
    paths: ({ id }) =>
      ['video', 'thumbnail', 'spritesheet'].map(
        (variant) => `/v1/videos/video_${id}/content?variant=${variant}`,
      ),
  },
}
const lookups = (prompt: string) =>
  ['', '&all=true'].map((all) => `/jobs/lookup?prompt=${encodeURIComponent(prompt)}${all}`)

/** They are about no job that is there already. */
const harmless = [
  'GET /v1/models',
  'GET /v1/models/:model',
  'POST /generate',
  'POST /v1/videos',
  'POST /v1/videos/characters',
  'POST /v1/videos/edits',
  'POST /v1/videos/extensions',
  'POST /v1/videos/sync',
]

/** A stream without end, in service-live.test.ts; what is about webhooks, in service-webhooks.test.ts. */
const shownElsewhere = (route: string) => route === 'GET /events' || route.includes(' /webhook')

describe('every route', () => {
  it('says who may use it, and how it is tried in vain', () => {
    expect([...access].filter(([, who]) => who === undefined)).toEqual([])
    const forClients = [...access].flatMap(([route, who]) =>
      (who === 'client' || who === 'link') && !shownElsewhere(route) ? [route] : [],
    )
    expect([...Object.keys(attempts), ...harmless].toSorted()).toEqual(forClients.toSorted())
  })
})

describe('every route of the document', () => {
  it('gives a client nothing of what is another’s', { timeout: 120_000 }, async () => {
    const env = { API_TOKENS, GPU_IDS: '0', WEBHOOK_ALLOW: '127.0.0.1' }
    const own = await startService({ env })
    const [mine, theirs] = [own.as(tokens.ada), own.as(tokens.bob)]
    const receiver = await startReceiver()
    const json = (body: object) => ({
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify(body),
    })
    const hook = await theirs.json<{ id: string }>('/webhook', json({ url: receiver.url }))
    const job = await theirs.until(await theirs.submit({ prompt: 'a fox of theirs' }))
    const [told] = await receiver.until(1)
    const delivery = String(told?.event.id)
    const secrets = [job.id, String(job.filename), job.prompt, hook.id, delivery]

    /** What a path's parameter stands for: theirs. */
    const idFor = (template: string): string => {
      if (template.startsWith('/webhook/deliveries/')) return delivery
      if (template.startsWith('/webhook/')) return hook.id
      return template.startsWith('/v1/') ? `video_${job.id}` : job.id
    }
    const { paths } = await own.json<Document>('/openapi.json')
    const operations = Object.entries(paths).flatMap(([template, methods]) =>
      Object.keys(methods).map((method) => [method.toUpperCase(), template] as const),
    )
    const asked = operations.filter(([method, template]) => {
      const who = access.get(`${method} ${template.replaceAll(/{(\w+)}/g, ':$1')}`)
      const isOfOneThing = /{(id|filename)}/.test(template)
      // A stream of all jobs does not end; what it tells is in service-live.test.ts.
      const isList = method === 'GET' && template !== '/events' && !template.includes('{')
      return (who === 'client' || who === 'link') && (isOfOneThing || isList)
    })
    expect(asked.length).toBeGreaterThanOrEqual(24)
    for (const [method, template] of asked) {
      const path = template
        .replace('{id}', idFor(template))
        .replace('{filename}', String(job.filename))
      const query = template === '/jobs/lookup' ? `?prompt=${encodeURIComponent(job.prompt)}` : ''
      const body = template.endsWith('/remix') ? json({ prompt: 'an owl' }) : {}
      const response = await mine.request(`${path}${query}`, { ...body, method })
      const what = `${method} ${path}`
      if (template.includes('{')) expect(response.status, what).toBe(404)
      // It may say again what it was asked for, and knows nothing more.
      const said = await response.text()
      const unasked = secrets.filter(
        (secret) => !`${path}${query}`.includes(encodeURIComponent(secret)),
      )
      for (const secret of unasked) expect(said, what).not.toContain(secret)
    }
    expect(await theirs.status(job.id)).toEqual({ ...job, file_url: expect.any(String) })
    expect((await theirs.request(`/files/${job.filename}`)).status).toBe(200)
  })
})

describe('a link to a file', () => {
  let job: JobJson
  let link: string
  beforeAll(async () => {
    job = await ada.until(await ada.submit({ prompt: 'a fox to be linked to' }))
    link = String(job.file_url)
  })
  const changed = (name: string, value: string) => {
    const url = new URL(link, service.url)
    url.searchParams.set(name, value)
    return `${url.pathname}${url.search}`
  }

  it('is good without a token, for the whole file and for a part of it', async () => {
    const whole = await service.request(link)
    expect(whole.status).toBe(200)
    expect(whole.headers.get('Cache-Control')).toMatch(/^private, /)
    expect(whole.headers.get('Vary')).toBe('Authorization')
    const bytes = Buffer.from(await whole.arrayBuffer())
    expect(bytes).toHaveLength(job.file?.bytes ?? 0)

    const ETag = String(whole.headers.get('ETag'))
    const part = await service.request(link, { headers: { Range: 'bytes=8-15', 'If-Range': ETag } })
    expect(part.status).toBe(206)
    expect(Buffer.from(await part.arrayBuffer())).toEqual(bytes.subarray(8, 16))
    const another = await service.request(link, { headers: { 'If-Match': '"another"' } })
    expect(another.status).toBe(412)
    expect((await service.request(link, { method: 'HEAD' })).status).toBe(200)
  })

  it('is there for a picture of it too', async () => {
    const picture = await service.request(String(job.thumbnail_url))
    expect(picture.status).toBe(200)
    expect(picture.headers.get('Content-Type')).toBe('image/webp')
    expect(picture.headers.get('Cache-Control')).toMatch(/^private, .*immutable$/)
    const [path = ''] = String(job.thumbnail_url).split('?')
    expect((await service.request(path)).status).toBe(401)
    expect((await ada.request(path)).status).toBe(200)
    expect((await bob.request(path)).status).toBe(404)
    const unsigned = await service.request(`${path}?job=${job.id}&expires=99999999999&signature=x`)
    expect(unsigned.status).toBe(403)
  })

  it('is in the list of videos too', async () => {
    const { videos } = await ada.json<{ videos: { id: string; file_url: string }[] }>('/videos')
    const url = videos.find(({ id }) => id === job.id)?.file_url
    expect((await service.request(String(url))).status).toBe(200)
  })

  it.each<[what: string, path: () => string]>([
    ['is put off', () => changed('expires', '99999999999')],
    ['is for another job', () => changed('job', unknownId)],
    ['has another signature', () => changed('signature', 'A'.repeat(43))],
    ['has half a signature', () => changed('signature', 'AAAA')],
    ['has no signature', () => changed('signature', '')],
    ['has nothing else', () => `/files/${job.filename}?signature=x`],
  ])('is refused with 403 when it %s', async (_, path) => {
    const problem = await problemOf(await service.request(path()))
    expect(problem).toMatchObject({ status: 403, code: 'link_invalid' })
  })

  it('is to one file by one method, and to nothing else', async () => {
    const other = await ada.until(await ada.submit({ prompt: 'another fox' }))
    const query = link.slice(link.indexOf('?'))
    expect((await service.request(`/files/${other.filename}${query}`)).status).toBe(404)
    for (const path of [`/status/${job.id}`, `/jobs/${job.id}/log`, '/jobs', '/videos', '/gpus']) {
      expect((await service.request(`${path}${query}`)).status, path).toBe(401)
    }
    for (const path of [link, `/jobs${query}&ids=${job.id}`, `/videos${query}&ids=${job.id}`]) {
      expect((await service.request(path, { method: 'DELETE' })).status, path).toBe(401)
    }
  })

  it('gives a client no more than its token does', async () => {
    expect((await bob.request(link)).status).toBe(404)
    expect((await ada.request(changed('signature', 'x'))).status).toBe(200)
  })

  it('is no link to the next file of the same name', async () => {
    const named = { prompt: 'a fox', filename: 'again.mp4' }
    const first = await ada.until(await ada.submit(named))
    expect((await service.request(String(first.file_url))).status).toBe(200)
    await ada.request(`/videos?ids=${first.id}`, { method: 'DELETE' })
    const second = await bob.until(await bob.submit(named))
    expect((await service.request(String(second.file_url))).status).toBe(200)
    expect((await service.request(String(first.file_url))).status).toBe(404)
  })

  it('outlives a restart', async () => {
    const env = { API_TOKENS, GPU_IDS: '0' }
    const first = await startService({ env })
    const client = first.as(tokens.ada)
    const { file_url } = await client.until(await client.submit({ prompt: 'a fox' }))
    await first.stop()
    expect(statSync(join(first.dataDir, 'link.key')).mode & 0o777).toBe(0o600)
    const again = await startService({ env, dataDir: first.dataDir })
    expect((await again.request(String(file_url))).status).toBe(200)
  })

  it('ends after FILE_URL_TTL_S, and there is a new one then', async () => {
    const env = { API_TOKENS, GPU_IDS: '0', FILE_URL_TTL_S: '1' }
    const hasty = await startService({ env })
    const client = hasty.as(tokens.ada)
    const { id, file_url } = await client.until(await client.submit({ prompt: 'a fox' }))
    const ask = () => hasty.request(String(file_url))
    await expect.poll(async () => (await ask()).status, { timeout: 10_000 }).toBe(410)
    expect(await problemOf(await ask())).toMatchObject({ code: 'link_expired' })
    expect((await client.status(id)).file_url).not.toBe(file_url)
  })

  it('is without a signature where nobody is asked for a token', async () => {
    const open = await startService({ env: { GPU_IDS: '0' } })
    const { file_url, filename } = await open.until(await open.submit({ prompt: 'a fox' }))
    expect(file_url).toBe(`/files/${filename}`)
    const response = await open.request(`${file_url}?job=x&expires=1&signature=y`)
    expect(response.status).toBe(200)
    expect(response.headers.get('Cache-Control')).toMatch(/^public, /)
    // The nodes of a cluster choose their key when the first one starts.
    if (!isOnPostgres) expect(existsSync(join(open.dataDir, 'link.key'))).toBe(false)
  })
})

describe('JOBS_PER_HOUR', () => {
  const submit = (client: ServiceClient) =>
    client.post({ prompt: 'a fox', size: '1280x720', frames: 5 })
  const limits = ({ status, headers }: Response) => [
    status,
    ...['RateLimit-Policy', 'RateLimit', 'Retry-After'].map((name) => headers.get(name)),
  ]
  const soon = expect.stringMatching(/^(3600|359\d)$/)

  it('is kept for each client but admins, over a restart', async () => {
    const env = { API_TOKENS, GPU_IDS: '0', JOBS_PER_HOUR: '2' }
    const first = await startService({ env })
    const left = (n: number) => expect.stringMatching(new RegExp(`^"jobs";r=${n};t=(3600|359\\d)$`))
    const policy = '"jobs";q=2;w=3600'
    expect(limits(await submit(first.as(tokens.ada)))).toEqual([202, policy, left(1), null])
    expect(limits(await submit(first.as(tokens.ada)))).toEqual([202, policy, left(0), null])
    expect(limits(await submit(first.as(tokens.bob)))).toEqual([202, policy, left(1), null])
    await first.stop('SIGKILL')

    const again = await startService({ env, dataDir: first.dataDir })
    const refused = await submit(again.as(tokens.ada))
    expect(limits(refused)).toEqual([429, policy, left(0), soon])
    expect(await problemOf(refused)).toMatchObject({ code: 'rate_limited' })
    expect(limits(await submit(again.as(tokens.bob)))).toEqual([202, policy, left(0), null])
    for (const _ of [1, 2, 3]) {
      expect(limits(await submit(again.as(tokens.ops)))).toEqual([202, null, null, null])
    }
  })

  it('is kept for each address where nobody has a name, as the proxy tells it', async () => {
    const env = { GPU_IDS: '0', JOBS_PER_HOUR: '1', TRUST_PROXY: '1' }
    const first = await startService({ env })
    const from = (service: Service, forwarded: string) =>
      service.request('/generate', {
        method: 'POST',
        headers: { 'Content-Type': 'application/json', 'X-Forwarded-For': forwarded },
        body: JSON.stringify({ prompt: 'a fox', size: '1280x720', frames: 5 }),
      })
    expect((await from(first, '198.51.100.1')).status).toBe(202)
    expect((await from(first, '198.51.100.2')).status).toBe(202)
    expect((await from(first, '203.0.113.9, 198.51.100.1')).status).toBe(429)
    await first.stop('SIGKILL')
    const again = await startService({ env, dataDir: first.dataDir })
    expect((await from(again, '198.51.100.2')).status).toBe(429)
    expect((await from(again, '198.51.100.3')).status).toBe(202)
  })
})

describe('what belongs to another client', () => {
  let mine: JobJson
  let theirs: JobJson
  beforeAll(async () => {
    mine = await ada.until(await ada.submit({ prompt: 'a fox of mine' }))
    theirs = await bob.until(await bob.submit({ prompt: 'a fox of theirs', filename: 'bob.mp4' }))
  })

  /** Everything of a job that could tell one from another, the same for all. */
  const masked = async (response: Response, { id, prompt, filename }: JobJson) =>
    [id, prompt, String(filename)].reduce(
      (text, word) => text.replaceAll(word, '…'),
      `${response.status} ${await response.text()}`,
    )

  it.each(Object.entries(attempts))('is to %s as if it did not exist', async (route, attempt) => {
    const [method = ''] = route.split(' ')
    const { status, paths } = attempt
    const never = { ...theirs, id: unknownId, prompt: 'a fox of nobody', filename: 'no.mp4' }
    const pathsToNothing = paths(never)
    for (const [index, path] of paths(theirs).entries()) {
      const response = await ada.request(path, { method })
      expect(response.status, path).toBe(status)
      const nothing = await ada.request(pathsToNothing[index] ?? '', { method })
      expect(await masked(response, theirs)).toBe(await masked(nothing, never))
    }
    expect(await bob.status(theirs.id)).toEqual(theirs)
  })

  it('is in no list, while what is one’s own is', async () => {
    const [jobs, videos] = await Promise.all(['/jobs', '/videos'].map((path) => ada.json(path)))
    const outcomes = await ada.json('/eta/outcomes')
    for (const list of [jobs, videos, outcomes].map((answer) => JSON.stringify(answer))) {
      expect(list).toContain(mine.id)
      expect(list).not.toContain(theirs.id)
      expect(list).not.toContain('theirs')
    }
    const [path = ''] = lookups(mine.prompt)
    expect((await ada.json<JobJson>(path)).id).toBe(mine.id)
  })

  it('survives one’s own clearing up', async () => {
    const status = 'status=queued,running,success,error,canceled&delete_files=true'
    const waiting = await bob.submit({ prompt: 'a slow fox [sim:step=0.3]' })
    const answer = await ada.request(`/jobs?${status}`, { method: 'DELETE' })
    expect(await answer.text()).not.toContain(waiting)
    expect((await ada.status(mine.id)).file_deleted_at).not.toBeNull()
    expect((await bob.status(theirs.id)).file_deleted_at).toBeNull()
    expect((await bob.until(waiting)).status).toBe('success')
  })

  it('is an admin’s too', async () => {
    expect(await ops.status(theirs.id)).toMatchObject({ id: theirs.id, owner: 'bob' })
    expect((await ops.request(`/files/${theirs.filename}`)).status).toBe(200)
  })

  it('keeps its name, and that is all one learns', async () => {
    const response = await ada.post({ prompt: 'x', size: '1280x720', filename: 'bob.mp4' })
    const problem = await problemOf(response)
    expect(problem).toMatchObject({ status: 409, code: 'filename_taken' })
    expect(JSON.stringify(problem)).not.toContain(theirs.id)
  })

  it('is owned by the same client after a restart, and by admins', async () => {
    const env = { API_TOKENS, GPU_IDS: '0' }
    const first = await startService({ env })
    const id = await first.as(tokens.ada).submit({ prompt: 'a fox' })
    await first.stop()
    const again = await startService({ env, dataDir: first.dataDir })
    const jobs = async (client: ServiceClient) =>
      (await client.json<{ jobs: JobJson[] }>('/jobs')).jobs.map((job) => job.id)
    expect(await jobs(again.as(tokens.ada))).toEqual([id])
    expect(await jobs(again.as(tokens.ops))).toEqual([id])
    expect(await jobs(again.as(tokens.bob))).toEqual([])
  })
})

describe('a job that has expired', () => {
  it('is told of to its own client and to admins, and to others as if it had never been', async () => {
    const job = await ada.until(await ada.submit({ prompt: 'a fox', filename: 'expired.mp4' }))
    const purged = await ops.request('/admin/purge', {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ dry_run: false, older_than_days: 0 }),
    })
    expect(purged.status).toBe(200)
    const paths = { job_expired: `/status/${job.id}`, video_expired: `/files/${job.filename}` }
    for (const [code, path] of Object.entries(paths)) {
      for (const client of [ada, ops]) {
        expect(await problemOf(await client.request(path))).toMatchObject({ status: 410, code })
      }
      expect((await bob.request(path)).status).toBe(404)
    }
    const byLink = await problemOf(await service.request(String(job.file_url)))
    expect(byLink).toMatchObject({ status: 410, code: 'video_expired' })
    const named = await bob.until(await bob.submit({ prompt: 'a fox', filename: 'expired.mp4' }))
    expect((await bob.request(`/files/${named.filename}`)).status).toBe(200)
    expect((await service.request(String(job.file_url))).status).toBe(410)
  })
})
