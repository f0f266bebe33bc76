import http from 'node:http'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createShared, quick, type Service, startService } from '../support/service.ts'

const app = 'https://app.example.org'
const token = `token-of-ada-${crypto.randomUUID()}`

const shared = createShared()
let open: Service
let guarded: Service
beforeAll(async () => {
  const { atEnd } = shared
  open = await startService({ atEnd, env: { GPU_IDS: '0' } })
  guarded = await startService({
    atEnd,
    env: { GPU_IDS: '0', API_TOKENS: `ada:${token}`, CORS_ORIGINS: `${app},http://localhost:5173` },
  })
})
afterAll(shared.clearAway)

/** Not by `fetch`, which keeps some headers to itself. */
const ask = (url: string, method: string, headers: Record<string, string>) =>
  new Promise<http.IncomingMessage>((resolve, reject) => {
    const request = http.request(url, { method, headers }, (response) => {
      response.resume()
      resolve(response)
    })
    request.on('error', reject).end()
  })

describe('pages of other origins', () => {
  it('may read what is answered when CORS_ORIGINS names them, refusals too', async () => {
    for (const path of ['/jobs', '/health']) {
      const response = await guarded.request(path, { headers: { Origin: app } })
      expect(response.headers.get('Access-Control-Allow-Origin')).toBe(app)
      expect(response.headers.get('Access-Control-Expose-Headers')).toContain('Retry-After')
      expect(response.headers.get('Access-Control-Allow-Credentials')).toBeNull()
    }
    const other = await guarded.request('/health', { headers: { Origin: 'https://evil.example' } })
    expect(other.headers.get('Access-Control-Allow-Origin')).toBeNull()
  })

  it('are told before they ask that they may send a token', async () => {
    const response = await guarded.request('/jobs?ids=x', {
      method: 'OPTIONS',
      headers: {
        Origin: app,
        'Access-Control-Request-Method': 'DELETE',
        'Access-Control-Request-Headers': 'authorization,content-type',
      },
    })
    expect(response.status).toBe(204)
    expect(response.headers.get('Access-Control-Allow-Origin')).toBe(app)
    expect(response.headers.get('Access-Control-Allow-Methods')).toContain('DELETE')
    expect(response.headers.get('Access-Control-Allow-Headers')).toContain('authorization')
  })

  it('may not, when nothing is said of them', async () => {
    const response = await open.request('/jobs', { headers: { Origin: app } })
    expect(response.status).toBe(200)
    expect(response.headers.get('Access-Control-Allow-Origin')).toBeNull()
  })

  it.each<[what: string, headers: Record<string, string>, status: number]>([
    ['another site', { Origin: app, 'Sec-Fetch-Site': 'cross-site' }, 403],
    ['another port of this host', { Origin: app, 'Sec-Fetch-Site': 'same-site' }, 403],
    ['another origin, by an older browser', { Origin: app }, 403],
    ['nowhere in particular', { Origin: 'null' }, 403],
    ['its own page', { Origin: app, 'Sec-Fetch-Site': 'same-origin' }, 200],
    ['its user', { 'Sec-Fetch-Site': 'none' }, 200],
    ['no browser', {}, 200],
  ])('cannot change anything unasked: a request from %s', async (_, headers, status) => {
    const { statusCode } = await ask(`${open.url}/gpus/0/resume`, 'POST', headers)
    expect(statusCode).toBe(status)
  })

  it('are its own pages under its own address', async () => {
    const { statusCode } = await ask(`${open.url}/gpus/0/resume`, 'POST', { Origin: open.url })
    expect(statusCode).toBe(200)
  })

  it('can change things when CORS_ORIGINS names them', async () => {
    const Authorization = `Bearer ${token}`
    const from = async (Origin: string) =>
      (await ask(`${guarded.url}/jobs?status=queued`, 'DELETE', { Authorization, Origin }))
        .statusCode
    expect(await from(app)).toBe(200)
    expect(await from('https://evil.example')).toBe(403)
  })
})

describe('pages of a foreign name that resolves to the service', () => {
  const Host = 'evil.example:8080'
  /** What a browser sends after DNS rebinding: to it, page and service have one origin. */
  const headers = { Host, Origin: `http://${Host}`, 'Sec-Fetch-Site': 'same-origin' }

  it.each([
    ['POST', '/generate'],
    ['DELETE', '/jobs?all=true'],
    ['DELETE', '/videos?all=true'],
    ['POST', '/admin/purge'],
    ['POST', '/gpus/0/drain'],
    ['POST', '/webhook'],
    ['GET', '/jobs'],
    ['GET', '/events'],
    ['GET', '/v1/videos'],
    ['GET', '/ready'],
    ['GET', '/'],
  ])('are refused without tokens at %s %s', async (method, path) => {
    const { statusCode } = await ask(`${open.url}${path}`, method, headers)
    expect(statusCode).toBe(403)
    const own = await ask(`${open.url}${path}`, 'HEAD', { Host: 'localhost' })
    expect(own.statusCode).not.toBe(403)
  })

  it('have no token to show, so that with tokens the name does not matter', async () => {
    const by = async (more: Record<string, string>) =>
      (await ask(`${guarded.url}/jobs`, 'GET', { ...headers, ...more })).statusCode
    expect(await by({})).toBe(401)
    expect(await by({ Authorization: `Bearer ${token}` })).toBe(200)
  })

  it('are pages of the service when ALLOWED_HOSTS or HOST_BASE_URL names them', async () => {
    const env = { GPU_IDS: '0', ALLOWED_HOSTS: 'gpu.lan', HOST_BASE_URL: 'https://wan.example.org' }
    const named = await startService({ env })
    const by = async (Host: string) => (await ask(`${named.url}/jobs`, 'GET', { Host })).statusCode
    expect(await by('gpu.lan:8080')).toBe(200)
    expect(await by('wan.example.org')).toBe(200)
    expect(await by('evil.example')).toBe(403)
  })
})

describe('every answer', () => {
  it.each([
    ['/jobs', 200],
    ['/nothing', 404],
    ['/jobs?limit=0', 422],
  ])('of %s tells browsers to make nothing else of it', async (path, status) => {
    const response = await open.request(path)
    expect(response.status).toBe(status)
    expect(Object.fromEntries(response.headers)).toMatchObject({
      'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
      'x-content-type-options': 'nosniff',
      'x-frame-options': 'DENY',
      'referrer-policy': 'no-referrer',
      'cross-origin-resource-policy': 'same-origin',
    })
    expect(response.headers.get('Strict-Transport-Security')).toBeNull()
  })

  it('of a file lets pages show it', async () => {
    const { file_url } = await open.until(await open.submit({ prompt: 'a fox', ...quick }))
    const response = await open.request(String(file_url))
    expect(Object.fromEntries(response.headers)).toMatchObject({
      'content-security-policy': expect.stringContaining("media-src 'self'"),
      'x-content-type-options': 'nosniff',
      'cross-origin-resource-policy': 'cross-origin',
    })
  })
})
