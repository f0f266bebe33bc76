import { symlinkSync, unlinkSync, writeFileSync } from 'node:fs'
import http from 'node:http'
import net from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { JobJson } from '../../src/http/views/job-view.ts'
import { createShared, quick, type Service, startService } from '../support/service.ts'

const shared = createShared()
let service: Service
beforeAll(async () => {
  service = await startService({ atEnd: shared.atEnd })
})
afterAll(shared.clearAway)

type Problem = {
  type: string
  title: string
  status: number
  code: string
  detail: string
  field?: string
}
const unknownId = '00000000-0000-4000-8000-000000000000'
const jobCount = async () =>
  (await service.json<{ jobs: unknown[] }>('/jobs?limit=200')).jobs.length

describe('POST /generate', () => {
  it('answers 202 with id, position and ETA once the job is on disk', async () => {
    const response = await service.post({ prompt: ' a fox ', ...quick })
    expect(response.status).toBe(202)
    const answer = (await response.json()) as Record<string, unknown>
    expect(answer).toMatchObject({
      status: 'queued',
      queue_position: expect.any(Number),
      gpu_assigned: null,
    })
    expect(answer.eta_seconds).toBeGreaterThan(0)
    expect(response.headers.get('Location')).toBe(`/status/${answer.id}`)
    expect(await service.status(String(answer.id))).toMatchObject({
      prompt: 'a fox',
      size: '1280x720',
      frames: 5,
      steps: 4,
    })
  })

  it('fills in what the task would choose', async () => {
    const id = (await (
      await service.post({ prompt: 'defaults [sim:exit-1]', size: '720x1280' })
    ).json()) as { id: string }
    const job = await service.status(id.id)
    expect(job).toMatchObject({ frames: 121, steps: 50, total_steps: 50, guidance: null })
    expect(Number.isSafeInteger(job.seed)).toBe(true)
    await service.request(`/jobs?ids=${id.id}`, { method: 'DELETE' })
  })

  it.each<[string, unknown, string, string]>([
    ['no prompt', { size: '1280x720' }, 'prompt', 'required'],
    ['an empty prompt', { prompt: '', size: '1280x720' }, 'prompt', 'empty'],
    ['a blank prompt', { prompt: ' \u00a0 ', size: '1280x720' }, 'prompt', 'empty'],
    [
      'a prompt over the limit',
      { prompt: 'x'.repeat(32_001), size: '1280x720' },
      'prompt',
      '32000',
    ],
    ['a NUL in the prompt', { prompt: 'a\0b', size: '1280x720' }, 'prompt', 'control characters'],
    ['a line break in the prompt', { prompt: 'a\nb', size: '1280x720' }, 'prompt', 'one line'],
    ['a carriage return in the prompt', { prompt: 'a\rb', size: '1280x720' }, 'prompt', 'one line'],
    [
      'a Unicode line separator in the prompt',
      { prompt: 'a\u2028b', size: '1280x720' },
      'prompt',
      'one line',
    ],
    [
      'a lone surrogate in the prompt',
      '{"prompt":"a\\ud800b","size":"1280x720"}',
      'prompt',
      'surrogate',
    ],
    [
      'a prompt that looks like an option',
      { prompt: '--save_file=/etc/passwd', size: '1280x720' },
      'prompt',
      '--',
    ],
    ['a prompt that is no text', { prompt: ['a'], size: '1280x720' }, 'prompt', 'text'],
    ['no size', { prompt: 'a' }, 'size', 'required'],
    ['an unknown size', { prompt: 'a', size: '1920x1080' }, 'size', '720x1280'],
    ['a shift that is no number', { prompt: 'a', size: '1280x720', shift: '5' }, 'shift', 'number'],
    ['frames that are not 4n+1', { prompt: 'a', size: '1280x720', frames: 120 }, 'frames', '4n+1'],
    ['too many frames', { prompt: 'a', size: '1280x720', frames: 245 }, 'frames', '241'],
    ['frames as text', { prompt: 'a', size: '1280x720', frames: '121' }, 'frames', 'number'],
    ['steps as text', { prompt: 'a', size: '1280x720', steps: '50' }, 'steps', 'number'],
    ['no steps', { prompt: 'a', size: '1280x720', steps: 0 }, 'steps', '1 to 200'],
    ['half a step', { prompt: 'a', size: '1280x720', steps: 1.5 }, 'steps', 'whole'],
    ['a negative seed', { prompt: 'a', size: '1280x720', seed: -1 }, 'seed', 'from 0'],
    [
      'a seed that JSON cannot carry',
      '{"prompt":"a","size":"1280x720","seed":9007199254740993}',
      'seed',
      '9007199254740991',
    ],
    [
      'an endless guidance',
      '{"prompt":"a","size":"1280x720","guidance":1e999}',
      'guidance',
      'from 0 to 30',
    ],
    [
      'a negative prompt of two lines',
      { prompt: 'a', size: '1280x720', negative_prompt: 'a\nb' },
      'negative_prompt',
      'one line',
    ],
    [
      'a long negative prompt',
      { prompt: 'a', size: '1280x720', negative_prompt: 'a'.repeat(32_001) },
      'negative_prompt',
      'at most 32000',
    ],
    [
      'an empty negative prompt',
      { prompt: 'a', size: '1280x720', negative_prompt: ' ' },
      'negative_prompt',
      'must not be empty',
    ],
    [
      'an unknown field',
      { prompt: 'a', size: '1280x720', colour: 'red' },
      'colour',
      'not a known field',
    ],
    [
      'a field named __proto__',
      '{"prompt":"a","size":"1280x720","__proto__":{"x":1}}',
      '__proto__',
      '',
    ],
    ['a list', '[]', 'prompt', 'required'],
    ['null', 'null', '', 'object'],
    ...[
      '',
      '.mp4',
      '../x.mp4',
      'a/b.mp4',
      'a\\b.mp4',
      '/etc/x.mp4',
      'a\0b.mp4',
      'a..mp4',
      'x',
      'x.avi',
      'x.MP4',
      'con.mp4',
      'LPT1.mp4',
      'result_gpu0_2025-01-02_12-30-00_abcdef12.mp4',
      `${'x'.repeat(296)}.mp4`,
      '-rf.mp4',
      '.hidden.mp4',
      'a%2fb.mp4',
      'a\nb.mp4',
      ' a.mp4',
      7,
    ].map((filename): [string, unknown, string, string] => [
      `the file name ${JSON.stringify(filename).slice(0, 40)}`,
      { prompt: 'a', size: '1280x720', filename },
      'filename',
      '',
    ]),
  ])('refuses %s and creates nothing', async (_case, body, field, rule) => {
    const before = await jobCount()
    const response = await service.post(body)
    const problem = (await response.json()) as Problem
    expect(response.status, JSON.stringify(problem)).toBe(422)
    expect(response.headers.get('Content-Type')).toBe('application/problem+json')
    expect(problem).toMatchObject({
      type: '/problems/invalid_request',
      code: 'invalid_request',
      status: 422,
    })
    if (field) expect(problem.field).toBe(field)
    expect(problem.detail).toContain(field)
    expect(problem.detail).toContain(rule)
    expect(await jobCount()).toBe(before)
  })

  it.each([
    ['broken JSON', '{"prompt":', 'application/json', 400, 'malformed_body'],
    ['no body', '', 'application/json', 400, 'malformed_body'],
    [
      'bytes that are no UTF-8',
      new Uint8Array([0x22, 0xff, 0x22]),
      'application/json',
      400,
      'malformed_body',
    ],
    [
      'another content type',
      'prompt=a',
      'application/x-www-form-urlencoded',
      415,
      'unsupported_media_type',
    ],
    ['no content type', new Uint8Array([0x7b, 0x7d]), undefined, 415, 'unsupported_media_type'],
    ['10 MB', `{"prompt":"${'x'.repeat(10_000_000)}"}`, 'application/json', 413, 'body_too_large'],
  ])('refuses %s', async (_case, body, type, status, code) => {
    const response = await service.request('/generate', {
      method: 'POST',
      body,
      headers: type ? { 'Content-Type': type } : {},
    })
    expect(response.status).toBe(status)
    expect(await response.json()).toMatchObject({ code, status })
  })

  it('refuses 10 MB that come in chunks of unknown number, and reads on with the next request', async () => {
    const chunk = new TextEncoder().encode('x'.repeat(64 * 1024))
    let sent = 0
    const body = new ReadableStream({
      pull(controller) {
        if (sent++ < 160) controller.enqueue(chunk)
        else controller.close()
      },
    })
    const init = {
      method: 'POST',
      body,
      duplex: 'half',
      headers: { 'Content-Type': 'application/json' },
    }
    const status = await service.request('/generate', init as RequestInit).then(
      (response) => response.status,
      () => 'cut off',
    )
    expect([413, 'cut off']).toContain(status)
    expect((await service.request('/health')).status).toBe(200)
  })

  it('gives no two jobs one file', async () => {
    const name = 'Zwei Füchse (1).mp4'
    const id = await service.submit({ prompt: 'a', filename: name })
    for (const filename of [name, name.toLowerCase(), name.normalize('NFD')]) {
      const response = await service.post({ prompt: 'b', ...quick, filename })
      expect(response.status).toBe(409)
      expect(await response.json()).toMatchObject({ code: 'filename_taken', field: 'filename' })
    }
    const job = await service.until(id)
    expect(job).toMatchObject({ status: 'success', filename: name })
    expect(job.file_url).toBe('/files/Zwei%20F%C3%BCchse%20(1).mp4')
    expect((await service.post({ prompt: 'b', ...quick, filename: name })).status).toBe(409)
    expect((await service.request(job.file_url ?? '')).status).toBe(200)
  })

  it('takes only one of many that ask for the same name at the same time', async () => {
    const answers = await Promise.all(
      Array.from({ length: 8 }, () =>
        service.post({ prompt: 'race', ...quick, filename: 'race.mp4' }),
      ),
    )
    const statuses = answers.map(({ status }) => status).sort()
    expect(statuses).toEqual([202, 409, 409, 409, 409, 409, 409, 409])
  })

  it('refuses a name that somebody else has put into the results', async () => {
    writeFileSync(join(service.queue.dataDir, 'results', 'mine.mp4'), 'mine')
    const response = await service.post({ prompt: 'b', ...quick, filename: 'mine.mp4' })
    expect(response.status).toBe(409)
    expect((await service.request('/files/mine.mp4')).status).toBe(404)
  })

  it('refuses more than MAX_QUEUE, and says what to do', async () => {
    const small = await startService({ env: { GPU_IDS: '0', MAX_QUEUE: '2' } })
    const busy = await small.submit({ prompt: 'busy [sim:hang-load]' })
    await small.until(busy, ({ status }) => status === 'running')
    await small.submit({ prompt: 'a' })
    await small.submit({ prompt: 'b' })
    const response = await small.post({ prompt: 'c', ...quick })
    expect(response.status).toBe(429)
    expect(await response.json()).toMatchObject({
      code: 'queue_full',
      detail: expect.stringContaining('MAX_QUEUE'),
    })
  })
})

describe('GET', () => {
  it.each(['/status/ID', '/jobs/ID', '/jobs/ID/log'])(
    '%s answers 404 for an unknown id and 422 for one that is none',
    async (path) => {
      const unknown = await service.request(path.replace('ID', unknownId))
      expect(unknown.status).toBe(404)
      expect(await unknown.json()).toMatchObject({ code: 'job_not_found' })
      for (const id of ['7', '..%2F..%2Fetc%2Fpasswd', '%00', 'x'.repeat(5_000)]) {
        const response = await service.request(path.replace('ID', id))
        expect([422, 400]).toContain(response.status)
      }
    },
  )

  it('/jobs pages through all jobs once, in both orders, and filters by status', async () => {
    const dataful = await startService()
    const ids: string[] = []
    for (const n of [1, 2, 3, 4, 5]) ids.push(await dataful.submit({ prompt: `job ${n}` }))
    for (const order of ['asc', 'desc'] as const) {
      const seen: string[] = []
      let query = `/jobs?order=${order}&limit=2`
      for (;;) {
        const page = await dataful.json<{ jobs: JobJson[]; has_more: boolean; next_after: string }>(
          query,
        )
        seen.push(...page.jobs.map(({ id }) => id))
        if (!page.has_more) break
        query = `/jobs?order=${order}&limit=2&after=${page.next_after}`
      }
      expect(seen).toEqual(order === 'asc' ? ids : ids.toReversed())
    }
    await Promise.all(ids.map((id) => dataful.until(id)))
    expect((await dataful.json<{ jobs: unknown[] }>('/jobs?status=success')).jobs).toHaveLength(5)
    expect(
      (await dataful.json<{ jobs: unknown[] }>('/jobs?status=error,canceled')).jobs,
    ).toHaveLength(0)
  })

  it.each([
    '/jobs?limit=0',
    '/jobs?limit=201',
    '/jobs?limit=ten',
    '/jobs?status=done',
    '/jobs?order=up',
    '/jobs?page=2',
    '/jobs?after=x',
    '/jobs/lookup',
    '/jobs/lookup?prompt=',
    '/jobs/lookup?prompt=a&all=yes',
    '/videos?status=success',
  ])('%s is refused', async (path) => {
    const response = await service.request(path)
    expect(response.status).toBe(422)
    expect(((await response.json()) as Problem).field).toBeTruthy()
  })

  it('/jobs/lookup finds the latest job of a prompt, or all of them', async () => {
    const prompt = 'ein "Fuchs" & 狐 %41'
    const first = await service.submit({ prompt })
    const second = await service.submit({ prompt })
    const query = `/jobs/lookup?prompt=${encodeURIComponent(prompt)}`
    expect(await service.json(query)).toMatchObject({ id: second, prompt })
    expect(
      (await service.json<{ jobs: JobJson[] }>(`${query}&all=true`)).jobs.map(({ id }) => id),
    ).toEqual([second, first])
    expect((await service.request('/jobs/lookup?prompt=ein')).status).toBe(404)
  })

  it('/jobs/{id} shows every attempt, /jobs/{id}/log the output with its bars collapsed', async () => {
    const id = await service.submit({ prompt: 'look at me', steps: 30 })
    await service.until(id)
    expect(await service.json(`/jobs/${id}`)).toMatchObject({
      id,
      attempts: [{ attempt: 1, epoch: 1, outcome: 'success', error: null }],
    })
    const response = await service.request(`/jobs/${id}/log`)
    expect(response.headers.get('Content-Type')).toBe('text/plain; charset=utf-8')
    const log = await response.text()
    expect(log).toContain('INFO: Input prompt: look at me')
    expect(log).toContain('INFO: Finished.')
    expect(log.match(/30\/30/g)).toHaveLength(1)
    expect(log).not.toContain('15/30')
  })

  it('/gpus shows each GPU with its actor', async () => {
    const { gpus } = await service.json<{ gpus: unknown[] }>('/gpus')
    expect(gpus).toMatchObject([
      { id: 0, device: '0', actor: { state: 'running', incarnation: 1, restarts_in_period: 0 } },
      { id: 1, device: '1' },
    ])
  })

  it('/health says that all is well', async () => {
    expect(await service.json('/health')).toMatchObject({ status: 'ok', given_up: [] })
  })

  it('of a route that is not there, or with another method, is a problem too', async () => {
    const missing = await service.request('/nothing')
    expect(missing.status).toBe(404)
    expect(await missing.json()).toMatchObject({ code: 'route_not_found' })
    const wrong = await service.request('/generate')
    expect(wrong.status).toBe(405)
    expect(wrong.headers.get('Allow')).toBe('POST')
    expect(await wrong.json()).toMatchObject({ code: 'method_not_allowed' })
  })
})

describe('GET /files/{filename}', () => {
  let url: string
  let bytes: Uint8Array
  let etag: string
  let modified: string
  beforeAll(async () => {
    const id = await service.submit({ prompt: 'a fox', filename: 'Füchse 1.mp4' })
    const job = await service.until(id)
    url = job.file_url ?? ''
    const response = await service.request(url)
    bytes = new Uint8Array(await response.arrayBuffer())
    etag = response.headers.get('ETag') ?? ''
    modified = response.headers.get('Last-Modified') ?? ''
    expect(response.status).toBe(200)
    expect(Object.fromEntries(response.headers)).toMatchObject({
      'content-type': 'video/mp4',
      'content-length': String(job.file?.bytes),
      'accept-ranges': 'bytes',
      'cache-control': 'public, max-age=3600, must-revalidate',
      'content-disposition': "inline; filename*=UTF-8''F%C3%BCchse%201.mp4",
    })
    expect(etag).toMatch(/^".+"$/)
    expect(Date.parse(modified)).toBeGreaterThan(0)
  })

  const get = (headers: Record<string, string>, method = 'GET') =>
    service.request(url, { method, headers })

  /** Not by `fetch`, which adds `Cache-Control: no-cache` to a conditional request. */
  const statusOf = (headers: Record<string, string>) =>
    new Promise((resolve, reject) => {
      const request = http.get(service.url + url, { headers }, (response) => {
        response.resume()
        resolve(response.statusCode)
      })
      request.on('error', reject)
    })

  it.each([
    ['bytes=0-1', 0, 2],
    ['bytes=10-', 10, undefined],
    ['bytes=-5', -5, undefined],
    ['bytes=-99999999', 0, undefined],
    ['bytes=0-99999999', 0, undefined],
  ])('serves the range %s', async (range, from, to) => {
    const response = await get({ Range: range })
    const wanted = bytes.slice(from, to)
    expect(response.status).toBe(206)
    expect(new Uint8Array(await response.arrayBuffer())).toEqual(wanted)
    const start = from < 0 ? bytes.length + from : from
    expect(response.headers.get('Content-Range')).toBe(
      `bytes ${start}-${start + wanted.length - 1}/${bytes.length}`,
    )
    expect(response.headers.get('Content-Length')).toBe(String(wanted.length))
  })

  it('answers 416 to a range behind the end, and says how long the file is', async () => {
    const response = await get({ Range: `bytes=${bytes.length}-` })
    expect(response.status).toBe(416)
    expect(response.headers.get('Content-Range')).toBe(`bytes */${bytes.length}`)
    expect(await response.json()).toMatchObject({ code: 'range_not_satisfiable' })
  })

  it('serves a range only of the file that the client has: If-Range', async () => {
    const Range = 'bytes=0-1'
    expect(await statusOf({ Range, 'If-Range': etag })).toBe(206)
    expect(await statusOf({ Range, 'If-Range': modified })).toBe(206)
    expect(await statusOf({ Range, 'If-Range': '"another"' })).toBe(200)
    expect(await statusOf({ Range, 'If-Range': `W/${etag}` })).toBe(200)
  })

  it('answers 304 to those who have it already', async () => {
    expect(await statusOf({ 'If-None-Match': etag })).toBe(304)
    expect(await statusOf({ 'If-Modified-Since': modified })).toBe(304)
    expect(await statusOf({ 'If-None-Match': '"another"' })).toBe(200)
    expect(await statusOf({ 'If-Match': '"another"' })).toBe(412)
  })

  it('may be cached for ever under a name that is never used again', async () => {
    const { file_url } = await service.until(await service.submit({ prompt: 'a fox' }))
    const response = await service.request(file_url ?? '')
    expect(response.headers.get('Cache-Control')).toBe('public, max-age=31536000, immutable')
  })

  it('answers HEAD with the headers alone', async () => {
    const response = await get({}, 'HEAD')
    expect(response.status).toBe(200)
    expect(response.headers.get('Content-Length')).toBe(String(bytes.length))
    expect((await response.arrayBuffer()).byteLength).toBe(0)
  })

  it('goes on when its client leaves in the middle', async () => {
    const socket = net.connect(Number(new URL(service.url).port), '127.0.0.1')
    socket.write(`GET ${url} HTTP/1.1\r\nHost: localhost\r\n\r\n`)
    await new Promise((resolve) => socket.once('data', resolve))
    socket.destroy()
    expect((await get({})).status).toBe(200)
  })

  it.each([
    '/files/..%2Fstate.db',
    '/files/%2e%2e%2fstate.db',
    '/files/../state.db',
    '/files/state.db',
    '/files/%00',
    '/files/.unfinished.x.mp4',
    '/files/%ff',
    '/files/a%2f..%2f..%2fetc%2fpasswd',
  ])('has nothing at %s', async (path) => {
    const status = await rawStatus(path)
    expect([400, 404]).toContain(status)
  })

  it('does not follow a link that was put in the place of a video', async () => {
    const job = await service.until(await service.submit({ prompt: 'a fox', filename: 'link.mp4' }))
    const path = join(service.dataDir, 'results', 'link.mp4')
    unlinkSync(path)
    symlinkSync('/etc/passwd', path)
    expect((await service.request(job.file_url ?? '')).status).toBe(404)
  })
})

describe('DELETE', () => {
  it.each([
    '/jobs',
    '/jobs?all=false',
    '/jobs?ids=',
    '/jobs?ids=7',
    '/jobs?all=true&ids=x',
    '/jobs?status=done',
    '/jobs?all=yes',
    '/jobs?everything=true',
    '/videos',
    '/videos?ids=7',
    '/videos?filenames=',
    '/videos?all=true&filenames=a.mp4',
  ])('%s is refused and deletes nothing', async (path) => {
    const before = await jobCount()
    const response = await service.request(path, { method: 'DELETE' })
    expect(response.status).toBe(422)
    expect(await jobCount()).toBe(before)
  })

  it('/jobs answers 404 when it knows none of the ids', async () => {
    const response = await service.request(`/jobs?ids=${unknownId}`, { method: 'DELETE' })
    expect(response.status).toBe(404)
  })

  it('/jobs with delete_files removes the file and keeps the record', async () => {
    const id = await service.submit({ prompt: 'short-lived' })
    const { file_url, filename } = await service.until(id)
    expect(
      await service.json(`/jobs?ids=${id}&delete_files=true`, { method: 'DELETE' }),
    ).toMatchObject({
      unchanged: [{ id, status: 'success' }],
      deleted_files: [{ id, filename }],
    })
    expect((await service.request(file_url ?? '')).status).toBe(404)
    expect(await service.status(id)).toMatchObject({
      status: 'success',
      file_url: null,
      file: null,
      file_deleted_at: expect.any(String),
    })
  })

  it('/videos removes by name and by id, says what it did not find, and is harmless again', async () => {
    const a = await service.until(await service.submit({ prompt: 'a', filename: 'delete a.mp4' }))
    const b = await service.until(await service.submit({ prompt: 'b', filename: 'delete b.mp4' }))
    const byName = `/videos?filenames=${encodeURIComponent('delete a.mp4')},never.mp4`
    expect(await service.json(byName, { method: 'DELETE' })).toEqual({
      deleted: [{ id: a.id, filename: 'delete a.mp4' }],
      not_found: ['never.mp4'],
    })
    expect(await service.json(`/videos?ids=${b.id}`, { method: 'DELETE' })).toEqual({
      deleted: [{ id: b.id, filename: 'delete b.mp4' }],
      not_found: [],
    })
    expect(await service.json(`/videos?ids=${b.id}`, { method: 'DELETE' })).toEqual({
      deleted: [],
      not_found: [b.id],
    })
    // The name is free again.
    const again = await service.until(
      await service.submit({ prompt: 'c', filename: 'delete a.mp4' }),
    )
    expect(again.status).toBe('success')
    expect((await service.request(again.file_url ?? '')).status).toBe(200)
  })

  it('/videos?all=true leaves no video, and every record', async () => {
    const own = await startService()
    const ids = await Promise.all(['a', 'b'].map((prompt) => own.submit({ prompt })))
    for (const id of ids) await own.until(id)
    expect((await own.json<{ videos: unknown[] }>('/videos')).videos).toHaveLength(2)
    await own.request('/videos?all=true', { method: 'DELETE' })
    expect((await own.json<{ videos: unknown[] }>('/videos')).videos).toHaveLength(0)
    expect((await own.json<{ jobs: unknown[] }>('/jobs')).jobs).toHaveLength(2)
  })
})

it('puts HOST_BASE_URL before file_url', async () => {
  const behind = await startService({ env: { HOST_BASE_URL: 'https://videos.example.org/wan/' } })
  const job = await behind.until(await behind.submit({ prompt: 'a', filename: 'a.mp4' }))
  expect(job.file_url).toBe('https://videos.example.org/wan/files/a.mp4')
})

it('closes a connection whose headers do not come to an end', async () => {
  const socket = net.connect(Number(new URL(service.url).port), '127.0.0.1')
  socket.write('GET /health HTTP/1.1\r\nHost: localhost\r\nX-Slow: ')
  let answer = ''
  socket.on('data', (chunk) => (answer += chunk))
  await new Promise((resolve) => socket.once('close', resolve))
  expect(answer).toContain('408')
})

/** As it stands: `fetch` would tidy the path up before sending it. */
function rawStatus(path: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const socket = net.connect(Number(new URL(service.url).port), '127.0.0.1')
    socket.once('error', reject)
    socket.once('data', (data) => {
      resolve(Number(data.toString().split(' ')[1]))
      socket.destroy()
    })
    socket.write(`GET ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`)
  })
}
