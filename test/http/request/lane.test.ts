import { setTimeout as delay } from 'node:timers/promises'
import { Hono } from 'hono'
import { describe, expect, it, vi } from 'vitest'
import type { ClientEnv } from '../../../src/http/request/client-env.ts'
import { createLane } from '../../../src/http/request/lane.ts'
import { renderError } from '../../../src/http/response/errors.ts'

const quiet = () => {}
const log = { debug: quiet, info: quiet, warn: quiet, error: quiet }

describe('long answers', () => {
  it('are built one at a time, and short requests get their turn in between', async () => {
    const { app, seen } = lists()
    const all = Array.from({ length: 10 }, () => app.request('/list'))
    let turns = 0
    const turning = setInterval(() => {
      turns += 1
    }, 0)
    expect((await Promise.all(all)).map(({ status }) => status)).toEqual(Array(10).fill(200))
    clearInterval(turning)
    expect(seen.most).toBe(1)
    expect(turns).toBeGreaterThan(5)
  })

  it('wait while too many bytes wait for slow clients', async () => {
    const memory = { isShort: () => true }
    const { app, seen } = lists(memory)
    const asked = app.request('/list')
    await delay(50)
    expect(seen.built).toBe(0)
    memory.isShort = () => false
    expect((await asked).status).toBe(200)
  })

  it('are refused when they would wait too long', async () => {
    const { app } = lists({ isShort: () => true }, 100)
    const answers = await Promise.all([app.request('/list'), app.request('/list')])
    for (const answer of answers) {
      expect(answer.status).toBe(503)
      expect(answer.headers.get('Retry-After')).toBe('2')
      expect(await answer.json()).toMatchObject({ code: 'service_busy' })
    }
  })

  it('are not built for clients that have hung up', async () => {
    const memory = { isShort: () => true }
    const { app, seen } = lists(memory)
    const gone = new AbortController()
    const asked = app.request('/list', { signal: gone.signal })
    gone.abort()
    await asked
    expect(seen.built).toBe(0)
  })

  it('do not stop the line when one of them fails', async () => {
    const { app } = lists()
    expect((await app.request('/fail')).status).toBe(500)
    await vi.waitFor(async () => expect((await app.request('/list')).status).toBe(200))
  })
})

function lists(memory = { isShort: () => false }, waitMs?: number) {
  const seen = { now: 0, most: 0, built: 0 }
  const lane = createLane(memory, waitMs === undefined ? {} : { waitMs })
  const app = new Hono<ClientEnv>()
    .get('/list', lane, async (c) => {
      seen.most = Math.max(seen.most, ++seen.now)
      await delay(1)
      seen.now -= 1
      seen.built += 1
      return c.text('list')
    })
    .get('/fail', lane, () => {
      throw new Error('a bug')
    })
    .onError(renderError(log))
  return { app, seen }
}
