import { readFileSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import { EventSource } from 'eventsource'
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest'
import { stages } from '../../src/domain/job.ts'
import type { JobJson } from '../../src/http/views/job-view.ts'
import { openEvents, type ReadEvent } from '../support/event-reader.ts'
import {
  aDataDirectory,
  createShared,
  quick,
  type Service,
  startService,
} from '../support/service.ts'

/** A generation of some seconds, with every stage in it. */
const slow = { SIM_STEP: '0.4', SIM_LOAD: '1.2', SIM_DECODE: '0.3' }

/** For what changes nothing, and is not about any job. */
const shared = { ...createShared(), service: undefined as unknown as Service }
beforeAll(async () => {
  shared.service = await startService({ atEnd: shared.atEnd })
})
afterAll(shared.clearAway)

describe('the events of one job', () => {
  it('begin with how it is, tell how it goes on and never back, and end with its end', async () => {
    const service = await startService({ env: slow })
    const id = await service.submit({ prompt: 'a fox', steps: 6 })
    const reader = await openEvents(`${service.url}/jobs/${id}/events`)
    expect(reader.status).toBe(200)
    expect(reader.headers.get('Content-Type')).toContain('text/event-stream')
    await reader.untilEnd()

    expect(reader.retryMs()).toBeGreaterThan(0)
    const [first] = reader.events
    expect(first).toMatchObject({ event: 'snapshot', job: { id } })
    const last = reader.events.at(-1)
    expect(last).toMatchObject({ event: 'status', id: 'over', job: { id, status: 'success' } })
    expect(last?.job).toEqual(await service.status(id))
    expect(placesOf(reader.events)).toEqual(placesOf(reader.events).toSorted((a, b) => a - b))
    expect(reader.events.map(({ event }) => event)).toContain('stage')
    expect(reader.events.map(({ event }) => event)).toContain('progress')
    for (const { job } of reader.events) expect(job.progress).toBeGreaterThanOrEqual(0)
  })

  it('of a job that is over are its record, and nothing for a browser that comes again', async () => {
    const service = await startService()
    const id = await service.submit({ prompt: 'a fox' })
    await service.until(id)
    const source = new EventSource(`${service.url}/jobs/${id}/events`)
    onTestFinished(() => source.close())
    const told: string[] = []
    source.addEventListener('snapshot', ({ data }) => told.push(JSON.parse(data).status))
    // It tries again when the stream ends, and gives up on being told that there is nothing more.
    await expect.poll(() => source.readyState, { timeout: 20_000 }).toBe(EventSource.CLOSED)
    expect(told).toEqual(['success'])
  })

  it('are told to a browser over a restart of the service, kill -9 included', async () => {
    const dataDir = aDataDirectory()
    const first = await startService({ dataDir, env: { SIM_STEP: '1' } })
    const id = await first.submit({ prompt: 'a fox', steps: 8 })
    const source = new EventSource(`${first.url}/jobs/${id}/events`)
    onTestFinished(() => source.close())
    const told: { event: string; status: string; step: number | null }[] = []
    for (const event of ['snapshot', 'status', 'stage', 'progress']) {
      source.addEventListener(event, ({ data }) => told.push({ event, ...JSON.parse(data) }))
    }
    await vi.waitUntil(() => told.some(({ step }) => (step ?? 0) >= 1), { timeout: 20_000 })
    const before = told.length
    await first.stop('SIGKILL')
    await startService({ dataDir, env: { SIM_STEP: '1', PORT: new URL(first.url).port } })

    await expect.poll(() => told.at(-1)?.status, { timeout: 45_000 }).toBe('success')
    expect(told[before]).toMatchObject({ event: 'snapshot' })
    await expect.poll(() => source.readyState, { timeout: 20_000 }).toBe(EventSource.CLOSED)
  })

  it('are told to a browser over a crash of the queue, and of their own actor', async () => {
    const env = { FAULT_INJECTION: '1', SIM_STEP: '1' }
    const service = await startService({ env })
    const id = await service.submit({ prompt: 'a fox', steps: 10 })
    const source = new EventSource(`${service.url}/jobs/${id}/events`)
    onTestFinished(() => source.close())
    const statuses: string[] = []
    for (const event of ['snapshot', 'status', 'stage', 'progress'])
      source.addEventListener(event, ({ data }) => statuses.push(JSON.parse(data).status))
    await vi.waitUntil(() => statuses.includes('running'), { timeout: 20_000 })
    for (const actor of ['queue', 'events']) {
      writeFileSync(`${service.queue.dataDir}/crash`, actor)
      service.queue.child.kill('SIGUSR2')
      const crashes = () => service.log('actor crashed; it will be started again')
      await vi.waitUntil(() => crashes().some((line) => line.actor === actor), { timeout: 10_000 })
    }
    await vi.waitUntil(() => statuses.at(-1) === 'success', { timeout: 45_000 })
    await expect.poll(() => source.readyState, { timeout: 20_000 }).toBe(EventSource.CLOSED)
  })

  it('show those who wait how their place moves', async () => {
    const service = await startService({ env: { GPU_IDS: '0' } })
    const cancel = (id: string) => service.request(`/jobs?ids=${id}`, { method: 'DELETE' })
    const first = await service.submit({ prompt: 'first [sim:hang-step]' })
    const second = await service.submit({ prompt: 'second [sim:hang-step]' })
    const id = await service.submit({ prompt: 'third' })
    const reader = await openEvents(`${service.url}/jobs/${id}/events`)
    await reader.until(({ job }) => job.queue_position === 2)
    await cancel(first)
    await reader.until(({ event, job }) => event === 'progress' && job.queue_position === 1)
    await cancel(second)
    await reader.untilEnd()
  })

  it('of an unknown job are a 404', async () => {
    const { service } = shared
    const unknown = '00000000-0000-4000-8000-000000000000'
    const response = await service.request(`/jobs/${unknown}/events`)
    expect(response.status).toBe(404)
    expect(await response.json()).toMatchObject({ code: 'job_not_found' })
  })
})

describe('the events of all jobs', () => {
  it('begin with the open jobs, and go on with whatever becomes of any', async () => {
    const service = await startService({ env: { GPU_IDS: '0' } })
    await service.request('/gpus/0/drain', { method: 'POST' })
    const waiting = await service.submit({ prompt: 'first' })
    const reader = await openEvents(`${service.url}/events`)
    const { job: open } = await reader.until(({ event }) => event === 'snapshot')
    expect(open).toMatchObject({ jobs: [{ id: waiting, status: 'queued' }], has_more: false })

    const next = await service.submit({ prompt: 'second' })
    await reader.until(({ event, job }) => event === 'status' && job.id === next)
    await service.request('/gpus/0/resume', { method: 'POST' })
    for (const id of [waiting, next]) {
      await reader.until(({ job }) => job.id === id && job.status === 'running')
      await reader.until(({ job }) => job.id === id && job.status === 'success')
    }
  })

  it('resume behind the last one that was seen, with none left out and none told twice', async () => {
    const service = await startService()
    const reader = await openEvents(`${service.url}/events`)
    const first = await service.submit({ prompt: 'first' })
    const seen = await reader.until(({ job }) => job.id === first && job.status === 'running')
    const second = await service.submit({ prompt: 'second' })
    for (const id of [first, second])
      await reader.until(({ job }) => job.id === id && job.status === 'success')

    const again = await openEvents(`${service.url}/events`, seen.id)
    const numbered = (events: readonly ReadEvent[]) => events.filter(({ id }) => id !== undefined)
    const missed = numbered(reader.events).slice(
      numbered(reader.events).findIndex(({ id }) => id === seen.id) + 1,
    )
    await vi.waitUntil(() => again.events.length >= missed.length)
    expect(again.events.map(({ event, id }) => [event, id])).toEqual(
      missed.map(({ event, id }) => [event, id]),
    )
  })

  it.each(['deadbeef-7', 'rubbish', '-1', '9'.repeat(40)])(
    'begin anew for whoever comes with the id %s, which nobody knows',
    async (id) => {
      const reader = await openEvents(`${shared.service.url}/events`, id)
      await reader.until(({ event }) => event === 'snapshot')
    },
  )

  it('are to each client those of its own jobs, and to an admin all', async () => {
    const anna = 'the-token-of-anna'
    const bert = 'the-token-of-bert'
    const root = 'the-token-of-root'
    const API_TOKENS = `anna:${anna},bert:${bert},root:${root}:admin`
    const service = await startService({ env: { API_TOKENS, GPU_IDS: '0' } })
    await service.as(root).request('/gpus/0/drain', { method: 'POST' })
    const before = await service.as(bert).submit({ prompt: 'of bert' })
    const open = (token: string, after?: string) =>
      openEvents(`${service.url}/events`, after, token)
    const [ofAnna, ofRoot] = await Promise.all([open(anna), open(root)])
    const { id, job: none } = await ofAnna.until(({ event }) => event === 'snapshot')
    expect(none).toEqual({ jobs: [], has_more: false })

    const theirs = await service.as(bert).submit({ prompt: 'of bert' })
    const own = await service.as(anna).submit({ prompt: 'of anna' })
    await service.as(root).request('/gpus/0/resume', { method: 'POST' })
    for (const job of [before, theirs]) await service.as(bert).until(job)
    const resumed = await open(anna, id)
    for (const reader of [ofRoot, ofAnna, resumed]) {
      await reader.until(({ job }) => job.id === own && job.status === 'success')
    }
    for (const { events } of [{ events: ofAnna.events.slice(1) }, resumed]) {
      expect(new Set(events.map(({ job }) => job.id))).toEqual(new Set([own]))
    }
    expect(new Set(ofRoot.events.slice(1).map(({ job }) => job.id))).toContain(theirs)
    expect((await openEvents(`${service.url}/events`)).status).toBe(401)
  })

  it('have headers like any other resource, for which nothing is kept open', async () => {
    const { service } = shared
    for (let n = 0; n < 20; n += 1) {
      const response = await service.request('/events', { method: 'HEAD' })
      expect(response.status).toBe(200)
      expect(response.headers.get('Content-Type')).toContain('text/event-stream')
    }
  })

  it('are never silent for long', async () => {
    const service = await startService({ env: { HEARTBEAT_S: '1' } })
    const reader = await openEvents(`${service.url}/events`)
    await expect.poll(() => reader.comments.length, { timeout: 10_000 }).toBeGreaterThan(1)
  })

  it('are told to those who read, while who does not read is cut off', {
    timeout: 240_000,
  }, async () => {
    const service = await startService({ env: { GPU_IDS: '0' } })
    await service.request('/gpus/0/drain', { method: 'POST' })
    const { hostname, port } = new URL(service.url)
    const idler = net.connect(Number(port), hostname)
    onTestFinished(() => void idler.destroy())
    idler.on('error', () => {})
    idler.write(`GET /events HTTP/1.1\r\nHost: ${hostname}\r\n\r\n`)
    await new Promise((resolve) => idler.once('data', resolve))
    idler.pause()
    const reader = await openEvents(`${service.url}/events`)
    const isCut = () => !peersOf(Number(port)).includes(idler.localPort ?? 0)
    expect(isCut()).toBe(false)

    // Of events of this size the kernel's own buffers hold no more than some hundred, a thousand through a follower.
    const prompt = 'long '.repeat(6_000)
    let submitted = 0
    while (!isCut() && submitted < 3_000) {
      const response = await service.post({ prompt, ...quick })
      expect(response.status).toBe(202)
      await response.json()
      submitted += 1
    }
    // The leader has cut off a follower that does not read; that cuts off its client when nothing has moved for a while.
    await vi.waitUntil(isCut, { timeout: 120_000, interval: 200 })
    await vi.waitUntil(() => reader.events.length > submitted, { timeout: 30_000 })
    expect(reader.ended()).toBe(false)
  })

  it('end at once when the service stops', async () => {
    const service = await startService()
    const reader = await openEvents(`${service.url}/events`)
    await reader.until(({ event }) => event === 'snapshot')
    expect(await service.stop()).toBe(0)
    await reader.untilEnd()
  })

  it('end when their actor crashes, and are there again for whoever comes back', async () => {
    const service = await startService({ env: { FAULT_INJECTION: '1' } })
    const reader = await openEvents(`${service.url}/events`)
    const { id } = await reader.until(({ event }) => event === 'snapshot')
    writeFileSync(`${service.queue.dataDir}/crash`, 'events')
    service.queue.child.kill('SIGUSR2')
    await reader.untilEnd()
    let again = await openEvents(`${service.url}/events`, id)
    const isShown = async () => {
      expect(again.status).toBe(200)
      if (again.ended()) again = await openEvents(`${service.url}/events`, id)
      return again.events.some(({ event }) => event === 'snapshot')
    }
    await vi.waitUntil(isShown, { timeout: 20_000, interval: 100 })
  })
})

describe('GET /status/{id}?wait=', () => {
  it('answers when status, stage or step has changed', async () => {
    const service = await startService({ env: slow })
    const id = await service.submit({ prompt: 'a fox', steps: 6 })
    const seen: string[] = []
    let tag = ''
    for (let job = await service.status(id); job.status !== 'success'; ) {
      const response = await service.request(`/status/${id}?wait=30`, {
        headers: tag ? { 'If-None-Match': tag } : {},
      })
      expect(response.status).toBe(200)
      tag = response.headers.get('ETag') ?? ''
      job = (await response.json()) as JobJson
      const place = `${job.status} ${job.stage} ${job.step}`
      expect(seen).not.toContain(place)
      seen.push(place)
    }
    expect(seen.length).toBeGreaterThan(4)
    expect(seen.at(-1)).toMatch(/^success/)
  })

  it('answers with how it is when time is up, or 304 to whoever knows that', async () => {
    const service = await startService({ env: { GPU_IDS: '0' } })
    await service.request('/gpus/0/drain', { method: 'POST' })
    const id = await service.submit({ prompt: 'a fox' })
    const response = await service.request(`/status/${id}?wait=1`)
    expect(response.status).toBe(200)
    expect(await response.json()).toMatchObject({ status: 'queued' })
    const headers = { 'If-None-Match': response.headers.get('ETag') ?? '' }
    expect((await service.request(`/status/${id}?wait=1`, { headers })).status).toBe(304)
  })

  it('answers at once when the job is over', async () => {
    const service = await startService()
    const id = await service.submit({ prompt: 'a fox' })
    const { status } = await service.until(id)
    const tag = (await service.request(`/status/${id}`)).headers.get('ETag') ?? ''
    const before = Date.now()
    const again = await service.json(`/status/${id}?wait=60`, { headers: { 'If-None-Match': tag } })
    expect(again).toMatchObject({ status })
    expect(Date.now() - before).toBeLessThan(20_000)
  })

  it.each(['61', '-1', '1.5', 'long', '9999999999'])('refuses to wait for %s', async (wait) => {
    const { service } = shared
    const id = '00000000-0000-4000-8000-000000000000'
    const response = await service.request(`/status/${id}?wait=${wait}`)
    expect(response.status).toBe(422)
    const problem = (await response.json()) as { field: string; detail: string }
    expect(problem.field).toBe('wait')
    expect(problem.detail).toContain('60')
  })

  it('leaves nothing behind when the client goes away', async () => {
    const service = await startService({ env: { GPU_IDS: '0' } })
    await service.request('/gpus/0/drain', { method: 'POST' })
    const id = await service.submit({ prompt: 'a fox' })
    const cut = new AbortController()
    const polls = Array.from({ length: 20 }, () =>
      service.request(`/status/${id}?wait=60`, { signal: cut.signal }).catch(() => {}),
    )
    await expect.poll(() => connectionsOf(service), { timeout: 20_000 }).toBeGreaterThanOrEqual(20)
    cut.abort()
    await Promise.all(polls)
    // One may be kept alive by the requests before.
    await expect.poll(() => connectionsOf(service), { timeout: 20_000 }).toBeLessThanOrEqual(1)
  })
})

/** How far along each event is, so that none is behind the one before. */
function placesOf(events: readonly ReadEvent[]): number[] {
  const statuses = ['queued', 'running', 'success']
  return events.map(
    ({ job: { status, stage, step } }) =>
      statuses.indexOf(status) * 1_000_000 +
      (stages as readonly (string | null)[]).indexOf(stage) * 1_000 +
      (stage === 'denoising' ? (step ?? 0) : 0),
  )
}

/** Connections that the service has open, those of waiting requests among them. */
const connectionsOf = ({ url }: Service): number => peersOf(Number(new URL(url).port)).length

/** Ports of those that the kernel still has a connection to at this port, seen from there: established, or not closed here. */
function peersOf(port: number): number[] {
  return readFileSync('/proc/net/tcp', 'utf8')
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter(
      ([, local = '', , state = '']) => portOf(local) === port && ['01', '08'].includes(state),
    )
    .map(([, , remote = '']) => portOf(remote))
}

const portOf = (address: string): number => Number.parseInt(address.split(':').at(-1) ?? '', 16)
