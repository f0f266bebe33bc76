import * as v from 'valibot'
import { describe, expect, it } from 'vitest'
import type { QueueMessage } from '../../../src/actors/queue/queue-protocol.ts'
import { type Member, NodeName } from '../../../src/domain/node.ts'
import { anActor } from '../../support/jobs.ts'
import { anApp } from '../../support/routes.ts'

const member = (name: string, facts: Partial<Member> = {}): Member => ({
  ...{ name: v.parse(NodeName, name), url: `http://${name}`, version: '1.2.3' },
  ...{ role: 'follower', state: 'present', ...facts },
})

async function nodesOf(members: readonly Member[], access = {}) {
  const nodes = { members: () => members, remove: async () => {} }
  const response = await anApp({ nodes, queue: silentQueue(), ...access }).request('/ready')
  return ((await response.json()) as { nodes: object }).nodes
}

/** It has crashed, so that nobody waits for it. */
function silentQueue() {
  return anActor<null, QueueMessage>('queue', {
    init: () => null,
    receive() {
      throw new Error('crashed')
    },
  }).ref
}

describe('the nodes of GET /ready', () => {
  it('are counted by state, with the name of the leader', async () => {
    const nodes = [
      ...[member('a'), member('b', { role: 'leader' }), member('c', { state: 'lost' })],
      ...[member('d', { state: 'left' }), member('e', { state: 'lost' })],
    ]
    expect(await nodesOf(nodes)).toEqual({ present: 2, left: 1, lost: 2, leader: 'b' })
  })

  it('have no leader while the last one is lost', async () => {
    const nodes = [member('a'), member('b', { role: 'leader', state: 'lost' })]
    expect(await nodesOf(nodes)).toEqual({ present: 1, left: 0, lost: 1, leader: null })
  })

  it('do not name the leader to callers without a token', async () => {
    const clients = [{ name: 'ada', isAdmin: true, tokenDigest: Buffer.alloc(32) }]
    expect(await nodesOf([member('a', { role: 'leader' })], { clients })).toEqual({
      ...{ present: 1, left: 0, lost: 0 },
      leader: null,
    })
  })
})
