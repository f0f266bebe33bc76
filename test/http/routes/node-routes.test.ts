import * as v from 'valibot'
import { describe, expect, it, vi } from 'vitest'
import { tell } from '../../../src/actors/actor.ts'
import type { NodeUse, QueueMessage } from '../../../src/actors/queue/queue-protocol.ts'
import { nodeIsPresent, RefusalError } from '../../../src/domain/errors.ts'
import { type Member, NodeName } from '../../../src/domain/node.ts'
import type { NodeJson } from '../../../src/http/views/node-view.ts'
import { anActor, gpu0, gpu1, midnight } from '../../support/jobs.ts'
import { anApp } from '../../support/routes.ts'

const [a, b, c] = ['a', 'b', 'c'].map((name) => v.parse(NodeName, name)) as [
  NodeName,
  NodeName,
  NodeName,
]

const member = (name: NodeName, state: Member['state'] = 'present'): Member => ({
  ...{ name, url: `http://${name}:8080`, version: '1.2.3' },
  ...{ role: name === a ? 'leader' : 'follower', state },
})

const use = (name: NodeName, facts: Partial<NodeUse> = {}): NodeUse => ({
  ...{ name, presence: 'present', gpus: name === a ? [gpu0] : [gpu1] },
  ...{ maxConcurrentLoads: 2, drained: false, hasRoom: true, ...facts },
})

/** The app in front of a cluster whose queue knows these nodes, and gives this answer to a removal. */
function aCluster(
  members: readonly Member[],
  uses: readonly NodeUse[],
  onRemoval: 'removed' | RefusalError = 'removed',
) {
  const commands: string[] = []
  const known = new Map(uses.map((one) => [one.name, one]))
  const { ref: queue } = anActor<null, QueueMessage>('queue', {
    init: () => null,
    receive(state, message) {
      if (message.type === 'describeNodes') tell(message.replyTo, [...known.values()])
      if (message.type === 'drainNode' || message.type === 'resumeNode') {
        commands.push(`${message.type} ${message.node}`)
        const node = known.get(message.node)
        if (!node) tell(message.replyTo, new RefusalError('node_not_found', 'no such node'))
        else {
          const next = { ...node, drained: message.type === 'drainNode' }
          known.set(node.name, next)
          tell(message.replyTo, next)
        }
      }
      if (message.type === 'removeNode') {
        commands.push(`removeNode ${message.node}`)
        tell(message.replyTo, onRemoval)
      }
      return state
    },
  })
  const nodes = {
    members: () => members,
    async remove(name: NodeName, letGo: () => Promise<void>) {
      if (members.some((one) => one.name === name && one.state === 'present')) {
        throw nodeIsPresent(name)
      }
      await letGo()
      commands.push(`forget ${name}`)
    },
  }
  const app = anApp({ queue, nodes })
  const request = async (method: string, path: string) => {
    const response = await app.request(path, { method })
    return { status: response.status, body: (await response.json()) as unknown }
  }
  /** Once it was asked for. */
  const join = (one: NodeUse) => {
    if (commands.length > 0) known.set(one.name, one)
    return commands
  }
  return { commands, request, join }
}

describe('GET /nodes', () => {
  it('lists each node of the cluster with the facts of the queue', async () => {
    const detail = 'generate.py: missing'
    const hold = { reason: 'environment', detail, since: midnight } as const
    const { request } = aCluster(
      [member(a), member(b, 'lost')],
      [use(a, { hasRoom: false, hold: { reason: 'disk', detail: 'full' } }), use(b, { hold })],
    )
    expect(await request('GET', '/nodes')).toEqual({
      status: 200,
      body: {
        nodes: [
          {
            ...{ name: 'a', url: 'http://a:8080', role: 'leader', state: 'present' },
            ...{ version: '1.2.3', drained: false, has_room: false },
            hold: { reason: 'disk', detail: 'full', since: null },
            ...{ max_concurrent_loads: 2, gpus: [0] },
          },
          {
            ...{ name: 'b', url: 'http://b:8080', role: 'follower', state: 'lost' },
            ...{ version: '1.2.3', drained: false, has_room: true },
            hold: { reason: 'environment', detail, since: '2026-01-01T00:00:00.000Z' },
            ...{ max_concurrent_loads: 2, gpus: [1] },
          },
        ],
      },
    })
  })

  it('states nothing about the queue of a node that the queue does not know yet', async () => {
    const { body } = await aCluster([member(a)], []).request('GET', '/nodes')
    const nothing = { drained: null, has_room: null, hold: null, max_concurrent_loads: null }
    expect(body).toMatchObject({ nodes: [{ name: 'a', ...nothing, gpus: [] }] })
  })
})

describe('POST /nodes/{name}/drain and /resume', () => {
  it('return the node as it is after the command', async () => {
    const { request, commands } = aCluster([member(a), member(b)], [use(a), use(b)])
    expect(await request('POST', '/nodes/b/drain')).toMatchObject({
      status: 200,
      body: { name: 'b', drained: true },
    })
    expect(await request('POST', '/nodes/B/resume')).toMatchObject({
      status: 200,
      body: { name: 'b', drained: false },
    })
    expect(commands).toEqual(['drainNode b', 'resumeNode b'])
  })

  it('wait for a node that has not joined a new leader yet', async () => {
    const { request, join } = aCluster([member(a), member(b)], [use(a)])
    const drained = request('POST', '/nodes/b/drain')
    await vi.waitFor(() => expect(join(use(b))).toContain('drainNode b'))
    expect(await drained).toMatchObject({ status: 200, body: { name: 'b', drained: true } })
  })

  it('refuse a node as not ready that does not join in time', async () => {
    const { request } = aCluster([member(a), member(b)], [use(a)])
    expect(await request('POST', '/nodes/b/resume')).toMatchObject({
      status: 503,
      body: { code: 'service_busy' },
    })
  })

  it('refuse a node that the queue does not know', async () => {
    const { request } = aCluster([member(a)], [use(a)])
    expect(await request('POST', '/nodes/c/drain')).toMatchObject({
      status: 404,
      body: { code: 'node_not_found' },
    })
  })

  it.each(['-a', 'a%20b', 'a'.repeat(64)])('refuse %s as the name of a node', async (name) => {
    const { request, commands } = aCluster([member(a)], [use(a)])
    expect(await request('POST', `/nodes/${name}/drain`)).toMatchObject({
      status: 422,
      body: { code: 'invalid_request', field: 'name', detail: expect.stringContaining('1 to 63') },
    })
    expect(commands).toEqual([])
  })
})

describe('DELETE /nodes/{name}', () => {
  it('has the queue let the node go, then the cluster forget it', async () => {
    const { request, commands } = aCluster([member(a), member(b, 'lost')], [use(a), use(b)])
    const { status, body } = await request('DELETE', '/nodes/b')
    expect(status).toBe(200)
    expect(body as NodeJson).toMatchObject({ name: 'b', state: 'lost', gpus: [1] })
    expect(commands).toEqual(['removeNode b', 'forget b'])
  })

  it('does not forget a node that the queue refuses to let go', async () => {
    const refusal = nodeIsPresent(b)
    const members = [member(a), member(b, 'left')]
    const { request, commands } = aCluster(members, [use(a), use(b)], refusal)
    expect(await request('DELETE', '/nodes/b')).toMatchObject({
      status: 409,
      body: { code: 'node_present' },
    })
    expect(commands).toEqual(['removeNode b'])
  })

  const unknown = new RefusalError('node_not_found', 'no such node')

  it('completes a removal that failed after the queue had let the node go', async () => {
    const { request, commands } = aCluster([member(a), member(c, 'left')], [use(a)], unknown)
    expect(await request('DELETE', '/nodes/c')).toMatchObject({ status: 200, body: { name: 'c' } })
    expect(commands).toEqual(['removeNode c', 'forget c'])
  })

  it('refuses a node that runs, whatever the queue knows of it', async () => {
    const { request, commands } = aCluster([member(a), member(c)], [use(a)], unknown)
    expect(await request('DELETE', '/nodes/c')).toMatchObject({
      status: 409,
      body: { code: 'node_present' },
    })
    expect(commands).toEqual([])
  })

  it('refuses a node that is not in the cluster without asking the queue', async () => {
    const { request, commands } = aCluster([member(a)], [use(a)])
    expect(await request('DELETE', '/nodes/c')).toMatchObject({
      status: 404,
      body: { code: 'node_not_found', detail: expect.stringContaining('GET /nodes') },
    })
    expect(commands).toEqual([])
  })
})
