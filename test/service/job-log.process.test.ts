import { readFileSync } from 'node:fs'
import { appendFile, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { createLogReader } from '../../src/http/response/log-reader.ts'
import { createShared, type Service, startService } from '../support/service.ts'

const shared = createShared()
const ada = `ada-${crypto.randomUUID()}`
const bob = `bob-${crypto.randomUUID()}`
let service: Service
let id: string
let path: string
beforeAll(async () => {
  const env = { API_TOKENS: `ada:${ada},bob:${bob}` }
  service = await startService({ atEnd: shared.atEnd, env })
  id = await service.as(ada).submit({ prompt: 'ein Fuchs – 狐 🦊' })
  await service.as(ada).until(id)
  path = join(service.dataDir, 'logs', `${id}.log`)
})
afterAll(shared.clearAway)

const ask = (headers: Record<string, string> = {}, method = 'GET') =>
  service.as(ada).request(`/jobs/${id}/log`, { method, headers })

describe('a part of a log', () => {
  it('is the bytes that were asked for, and which they are', async () => {
    const log = readFileSync(path)
    const type = 'text/plain; charset=utf-8'
    for (const [range, from, to] of [
      ['bytes=0-', 0, log.length],
      ['bytes=100-', 100, log.length],
      ['bytes=100-149', 100, 150],
      ['bytes=-50', log.length - 50, log.length],
      [`bytes=-${log.length * 2}`, 0, log.length],
    ] as const) {
      const part = await ask({ Range: range })
      expect(part.status, range).toBe(206)
      expect(part.headers.get('Content-Range')).toBe(`bytes ${from}-${to - 1}/${log.length}`)
      expect(part.headers.get('Content-Type')).toBe(type)
      expect(Buffer.from(await part.arrayBuffer())).toEqual(log.subarray(from, to))
    }
    const whole = await ask()
    expect(whole.status).toBe(200)
    expect(whole.headers.get('Accept-Ranges')).toBe('bytes')
    expect(whole.headers.get('Content-Type')).toBe(type)
    expect(await whole.text()).toBe(log.toString())
  })

  it('is the whole where no range can be told from the request', async () => {
    const log = readFileSync(path, 'utf8')
    const headers: Record<string, string>[] = [
      { Range: 'lines=1-' },
      { Range: 'bytes=0-1,5-6' },
      { Range: 'bytes=5-', 'If-Range': '"a tag that it never had"' },
      { Range: 'bytes=5-', 'If-Range': new Date().toUTCString() },
    ]
    for (const asked of headers) {
      const response = await ask(asked)
      expect(response.status, JSON.stringify(asked)).toBe(200)
      expect(await response.text()).toBe(log)
    }
  })

  it('is refused behind the end, with the length', async () => {
    const { length } = readFileSync(path)
    const response = await ask({ Range: `bytes=${length}-` })
    expect(response.status).toBe(416)
    expect(response.headers.get('Content-Range')).toBe(`bytes */${length}`)
    expect(await response.json()).toMatchObject({ code: 'range_not_satisfiable' })
  })

  it('is described without being sent', async () => {
    const { length } = readFileSync(path)
    const response = await ask({ Range: 'bytes=10-' }, 'HEAD')
    expect(response.status).toBe(206)
    expect(response.headers.get('Content-Length')).toBe(String(length - 10))
    expect(await response.text()).toBe('')
  })

  it('is nothing of a log that has not begun', async () => {
    await service.as(ada).submit({ prompt: 'a [sim:hang-step]' })
    await service.as(ada).submit({ prompt: 'b [sim:hang-step]' })
    const waiting = await service.as(ada).submit({ prompt: 'c' })
    const headers = { Range: 'bytes=0-' }
    const response = await service.as(ada).request(`/jobs/${waiting}/log`, { headers })
    expect([response.status, await response.text()]).toEqual([200, ''])
  })

  it('is for nobody else', async () => {
    const headers = { Range: 'bytes=0-' }
    expect((await service.request(`/jobs/${id}/log`, { headers })).status).toBe(401)
    expect((await service.as(bob).request(`/jobs/${id}/log`, { headers })).status).toBe(404)
  })
})

describe('a reader of a log that grows', () => {
  let received = 0
  const reader = (options?: { lastBytes: number }) =>
    createLogReader(async (headers) => {
      const response = await ask(headers)
      received += Number(response.headers.get('Content-Length'))
      return response
    }, options)
  beforeEach(() => {
    received = 0
  })

  it('is told what is new, and little else', async () => {
    await writeFile(path, `${'a line\n'.repeat(10_000)}`)
    const log = reader()
    expect(await log.read()).toMatchObject({ isAnew: true })
    for (const text of ['one more\n', '', 'and\nanother\n']) {
      received = 0
      await appendFile(path, text)
      expect(await log.read()).toEqual({ text, isAnew: false })
      expect(received).toBeLessThan(1_000)
    }
  })

  it('gets characters whole that were cut', async () => {
    const fox = Buffer.from('🦊\n')
    await writeFile(path, Buffer.concat([Buffer.from('a '), fox.subarray(0, 2)]))
    const log = reader()
    expect(await log.read()).toEqual({ text: 'a ', isAnew: true })
    await appendFile(path, fox.subarray(2, 3))
    expect(await log.read()).toEqual({ text: '', isAnew: false })
    await appendFile(path, fox.subarray(3))
    expect(await log.read()).toEqual({ text: '🦊\n', isAnew: false })
  })

  it('reads a log anew that was written anew, be it shorter, as long or longer', async () => {
    const log = reader()
    await writeFile(path, 'one\ntwo\nthree\n')
    await log.read()
    for (const text of ['one\n', 'two\n', 'three\none\ntwo\nfour\n', '', 'one\n']) {
      await truncate(path)
      await appendFile(path, text)
      expect(await log.read()).toEqual({ text, isAnew: true })
    }
  })

  it('begins with whole lines at the end, if that is wanted', async () => {
    await writeFile(path, '🦊 one\n🦊 two\n🦊 three\n')
    const log = reader({ lastBytes: 20 })
    expect(await log.read()).toEqual({ text: '🦊 three\n', isAnew: true })
    await appendFile(path, 'four\n')
    expect(await log.read()).toEqual({ text: 'four\n', isAnew: false })
    expect(await reader({ lastBytes: 10_000 }).read()).toMatchObject({
      text: '🦊 one\n🦊 two\n🦊 three\nfour\n',
    })
  })
})
