import { Hono } from 'hono'
import { describe, expect, it } from 'vitest'
import { type ActorRef, refOf, tell } from '../../../src/actors/actor.ts'
import type { ArchiveMessage } from '../../../src/actors/archive/archive-protocol.ts'
import type { EventMessage, LiveMessage } from '../../../src/actors/event/event-protocol.ts'
import { RefusalError } from '../../../src/domain/errors.ts'
import { createPeers, type Peers } from '../../../src/http/peers/peers.ts'
import { withCertainty } from '../../../src/http/request/certainty.ts'
import type { ClientEnv } from '../../../src/http/request/client-env.ts'
import { renderRefusal } from '../../../src/http/response/errors.ts'
import { aRunningJob, jobId } from '../../support/jobs.ts'
import { anApp } from '../../support/routes.ts'

/** The app of a leader that knows one job, and is certain as long as the test says so. */
function aLeader() {
  const now = { isCertain: true, isLeaving: false }
  const certainty = { isCertain: () => now.isCertain, isLeaving: () => now.isLeaving }
  const watchers: ActorRef<LiveMessage>[] = []
  let found = () => {}
  const archive = refOf<ArchiveMessage>('archive', (message) => {
    if (message.type !== 'find') return true
    found()
    tell(message.replyTo, { job: aRunningJob(1) })
    return true
  })
  const events = refOf<EventMessage>('events', (message) => {
    if (message.type !== 'watch') return true
    watchers.push(message.watcher)
    tell(message.replyTo, { how: 'snapshot', id: '1', sights: [], hasMore: false })
    return true
  })
  const peers = createPeers('the secret')
  const app = anApp({ archive, events, peers, certainty })
  const onFound = (act: () => void) => {
    found = act
  }
  return { app, now, watchers, peers, onFound }
}

const status = `/status/${jobId(1)}`

describe('a leader that is not certain', () => {
  it('refuses requests about jobs, and answers those about itself', async () => {
    const { app, now } = aLeader()
    expect((await app.request(status)).status).toBe(200)
    now.isCertain = false
    const paths = [status, '/jobs', '/gpus', '/nodes', '/stats', '/events']
    const refusals = await Promise.all(paths.map((path) => app.request(path)))
    for (const response of refusals) {
      expect(await response.json()).toMatchObject({ code: 'database_unreachable' })
      expect(response.status).toBe(503)
      expect(response.headers.get('Retry-After')).toBe('2')
    }
    const answered = ['/health', '/metrics', '/openapi.json', '/whoami']
    for (const path of answered) expect((await app.request(path)).status, path).toBe(200)
    expect(await (await app.request('/ready')).json()).toHaveProperty('checks')
  })

  it('has a request wait for a database that is soon back', async () => {
    const { app, now } = aLeader()
    now.isCertain = false
    const asking = app.request(status)
    setImmediate(() => {
      now.isCertain = true
    })
    expect((await asking).status).toBe(200)
  })

  it('has a forwarded request go to the next leader', async () => {
    const { app, now, peers } = aLeader()
    now.isCertain = false
    const response = await app.request(status, { headers: forwardedBy(peers) })
    expect(response.headers.get('Wan-Not-Leader')).toBe('1')
  })

  it('has a forwarded read go to the next leader that was answered when it became uncertain', async () => {
    const { app, now, peers, onFound } = aLeader()
    onFound(() => {
      now.isCertain = false
    })
    const response = await app.request(status, { headers: forwardedBy(peers) })
    expect(response.status).toBe(503)
    expect(response.headers.get('Wan-Not-Leader')).toBe('1')
  })

  it('does not end a long poll with the state that it knows', async () => {
    const { app, now, watchers } = aLeader()
    const polling = app.request(`${status}?wait=60`)
    await expect.poll(() => watchers).toHaveLength(1)
    now.isCertain = false
    for (const watcher of watchers) tell(watcher, { type: 'over' })
    const response = await polling
    expect(await response.json()).toMatchObject({ code: 'database_unreachable' })
    expect(response.headers.has('ETag')).toBe(false)
  })
})

describe('a leader that stops', () => {
  it('has forwarded requests go to the next leader, and answers its own clients', async () => {
    const { app, now, peers } = aLeader()
    now.isLeaving = true
    const response = await app.request(status, { headers: forwardedBy(peers) })
    expect(response.headers.get('Wan-Not-Leader')).toBe('1')
    expect((await app.request(status)).status).toBe(200)
  })

  it.each([
    { what: 'a read that fails', method: 'GET', code: 'service_busy', goesOn: true },
    {
      what: 'a job that is not taken any more',
      method: 'POST',
      code: 'shutting_down',
      goesOn: true,
    },
    { what: 'a change that may be stored', method: 'POST', code: 'service_busy', goesOn: false },
  ] as const)('lets $what go on there only if it changed nothing', async (row) => {
    const now = { isLeaving: false }
    const certainty = { isCertain: () => true, isLeaving: () => now.isLeaving }
    const handle = new Hono<ClientEnv>()
    handle.use((c, next) =>
      withCertainty({ c, asked: undefined, isForwarded: true }, certainty, next),
    )
    handle.all('/', () => {
      now.isLeaving = true
      throw new RefusalError(row.code, 'The queue has ended.')
    })
    handle.onError((error, c) => renderRefusal(c, error as RefusalError))
    const response = await handle.request('/', { method: row.method })
    expect(response.headers.has('Wan-Not-Leader')).toBe(row.goesOn)
  })
})

const forwardedBy = ({ forwardKey }: Peers) => ({
  'Wan-Forward-Key': forwardKey,
  'Wan-Client-Address': '192.0.2.7',
})
