import { describe, expect, it, vi } from 'vitest'
import {
  nodesOf,
  startClusterNode,
  untilLeads,
  untilPresent,
} from '../support/cluster/service-cluster.ts'
import { aSilentProxy } from '../support/cluster/silent-proxy.ts'
import { missing, usePostgresServer } from '../support/store/postgres-stores.ts'

vi.setConfig({ testTimeout: 120_000 })

describe.skipIf(missing)('a leader that is cut off from PostgreSQL', () => {
  const server = usePostgresServer()

  it('ends streams and says of no job how it stands, while the next leader does', async () => {
    const url = await server().createDatabase()
    const proxy = await aSilentProxy(url)
    const a = await startClusterNode(proxy.url, 'a')
    await untilLeads(a)
    const b = await startClusterNode(url, 'b')
    await untilPresent([a, b])
    const id = await a.submit({ prompt: 'cached', steps: 50 })
    const poll = () => a.request(`/status/${id}`)
    expect((await poll()).status).toBe(200)
    const stream = await a.request('/events')
    const streamed = stream.text()

    proxy.fallSilent()
    await vi.waitFor(async () => expect((await poll()).status).toBe(503), { timeout: 20_000 })
    expect(await (await poll()).json()).toMatchObject({ code: 'database_unreachable' })
    expect(await streamed).toContain(id)
    await untilLeads(b)
    expect((await nodesOf(b)).find(({ role }) => role === 'leader')).toMatchObject({ name: 'b' })
    expect(await b.until(id)).toMatchObject({ status: 'success' })

    expect((await a.request('/health')).status).toBe(200)
    const ready = await a.request('/ready')
    expect([ready.status, await ready.json()]).toMatchObject([503, { nodes: { leader: null } }])
    expect(await (await a.request('/metrics')).text()).toContain('\nwan_leader 0\n')
  })
})
