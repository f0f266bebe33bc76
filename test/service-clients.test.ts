import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { access } from '../src/http/access.ts'
import type { JobJson } from '../src/http/job-view.ts'
import { createShared, type Service, type ServiceClient, startService } from './support/service.ts'

const tokens = {
  ada: 'token-of-ada-0123456789',
  bob: 'token-of-bob-0123456789',
  ops: 'token-of-ops-0123456789',
}
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

  it.each(Object.entries(access).filter(([, who]) => who !== 'anybody'))(
    'lets no stranger use %s',
    async (route) => {
      const [method, path = ''] = route.split(' ')
      const init = { ...(method && { method }) }
      const response = await service.request(path.replace(/:\w+/g, 'x'), init)
      expect(response.status).toBe(401)
    },
  )

  it('tells strangers of no route', async () => {
    expect((await service.request('/nothing')).status).toBe(401)
    expect((await service.request('/jobs', { method: 'PATCH' })).status).toBe(401)
    expect((await ada.request('/nothing')).status).toBe(404)
    expect((await ada.request('/jobs', { method: 'PATCH' })).status).toBe(405)
  })

  it.each(['/health', '/ready'])('answers anybody at %s', async (path) => {
    expect((await service.request(path)).status).not.toBe(401)
  })

  it.each(Object.entries(access).filter(([, who]) => who === 'admin'))(
    'lets only admins use %s',
    async (route) => {
      const [method = '', path = ''] = route.split(' ')
      const ask = (client: ServiceClient) => client.request(path.replace(':id', '7'), { method })
      expect(await problemOf(await ask(ada))).toMatchObject({ status: 403, code: 'forbidden' })
      expect((await ask(ops)).status).toBe(path.includes(':id') ? 404 : 200)
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

  it('writes no token anywhere', async () => {
    await ada.submit({ prompt: 'a fox' })
    await service.request('/jobs', { headers: { Authorization: `Bearer ${tokens.ada}x` } })
    const database = ['state.db', 'state.db-wal'].map((file) =>
      readFileSync(join(service.dataDir, file), 'latin1'),
    )
    expect(service.log('listening')).toHaveLength(1)
    for (const text of [...database, service.allLogs(), service.stderr()]) {
      expect(text).not.toContain(tokens.ada)
    }
  })
})

describe('what belongs to another client', () => {
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
