import { Hono } from 'hono'
import { describe, expect, it } from 'vitest'
import { createPlace, tell } from '../../../src/actors/actor.ts'
import type { ArchiveMessage } from '../../../src/actors/archive/archive-protocol.ts'
import type { EtaMessage } from '../../../src/actors/eta/eta-protocol.ts'
import { eventBehaviour } from '../../../src/actors/event/event-actor.ts'
import type { ClientEnv } from '../../../src/http/request/client-env.ts'
import { eventRoutes } from '../../../src/http/routes/event-routes.ts'
import { createJobRenderer } from '../../../src/http/views/job-view.ts'
import { anActor, aRunningJob, jobId } from '../../support/jobs.ts'

describe('an event', () => {
  it('is rendered once, however many read it', async () => {
    const { events, routes, rendered } = someRoutes()
    const readers = await Promise.all(
      Array.from({ length: 300 }, async () => {
        const { body, status } = await routes.request('/events', {}, { outgoing: {} })
        expect(status).toBe(200)
        return (body as ReadableStream<Uint8Array>).pipeThrough(new TextDecoderStream()).getReader()
      }),
    )
    tell(events, { type: 'jobsChanged', changes: new Map([[jobId(1), 'status' as const]]) })
    const texts = await Promise.all(readers.map((reader) => readUntil(reader, 'event: status')))
    for (const text of texts) expect(text).toContain(`"id":"${jobId(1)}"`)
    expect(new Set(texts.map((text) => text.slice(text.indexOf('event: status')))).size).toBe(1)
    // And one for the snapshot that the readers began with; those who came later had one of their own.
    expect(rendered()).toBeLessThanOrEqual(1 + Math.ceil(300 / 100) + 1)
    await Promise.all(readers.map((reader) => reader.cancel()))
  })
})

describe('a stream of all jobs', () => {
  it('has its client come again while too many bytes wait for slow clients', async () => {
    const { routes, memory } = someRoutes()
    memory.isShort = () => true
    const response = await routes.request('/events', {}, { outgoing: {} })
    expect(response.status).toBe(200)
    expect(await response.text()).toBe('retry: 2000\n\n')
  })
})

/** The real log of events in front of an archive that has one job. */
function someRoutes() {
  let count = 0
  const archive = anActor<null, ArchiveMessage>('archive', {
    init: () => null,
    receive(state, message) {
      const view = { job: aRunningJob(1) }
      if (message.type === 'findMany') tell(message.replyTo, [view])
      if (message.type === 'list') tell(message.replyTo, { jobs: [view], hasMore: false })
      return state
    },
  })
  const eta = createPlace<EtaMessage>('eta')
  const quiet = () => {}
  const log = { debug: quiet, info: quiet, warn: quiet, error: quiet }
  const { ref: events } = anActor('events', eventBehaviour({ archive: archive.ref, eta, log }))
  const links = { urlOf: () => '', thumbnailOf: () => '' }
  const renderer = createJobRenderer({ eta, links, retentionMs: 0, nodeOf: () => undefined })
  const render: typeof renderer = {
    ...renderer,
    job(...shown) {
      count += 1
      return renderer.job(...shown)
    },
  }
  const memory = { isShort: () => false }
  const routes = new Hono<ClientEnv>()
    .use(async (c, next) => {
      c.set('scope', 'everything')
      await next()
    })
    .route(
      '/',
      eventRoutes({
        archive: archive.ref,
        events,
        render,
        observe: () => {},
        heartbeatMs: 10_000,
        memory,
      }),
    )
  return { events, routes, memory, rendered: () => count }
}

async function readUntil(
  reader: ReadableStreamDefaultReader<string>,
  wanted: string,
): Promise<string> {
  let text = ''
  while (!text.includes(wanted)) {
    const { value, done } = await reader.read()
    if (done) break
    text += value
  }
  return text
}
