import { IncomingMessage } from 'node:http'
import { Socket } from 'node:net'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Outgoing } from '../../../src/http/fast/outgoing.ts'
import { createPeers } from '../../../src/http/peers/peers.ts'

const peers = createPeers('the secret')

function received(headers: Record<string, string>) {
  const incoming = new IncomingMessage(new Socket())
  incoming.headers = headers
  return { incoming, outgoing: new Outgoing(incoming) }
}

describe('the keys between nodes', () => {
  it('are the same on all nodes with the same secret, and do not contain it', () => {
    const { forwardKey, nodeKey } = createPeers('the secret')
    expect([forwardKey, nodeKey]).toEqual([peers.forwardKey, peers.nodeKey])
    expect(forwardKey).not.toBe(nodeKey)
    expect(forwardKey + nodeKey).not.toContain('secret')
    expect(createPeers('another').forwardKey).not.toBe(forwardKey)
  })

  it('are not interchangeable: a forwarded request does not pass for one of a node', () => {
    const { incoming } = received({ 'wan-node-key': peers.forwardKey })
    expect(peers.isFromNode(incoming)).toBe(false)
    expect(peers.isForwarded(received({ 'wan-forward-key': peers.nodeKey }).incoming)).toBe(false)
  })

  it('are not guessed', () => {
    const { forwardKey } = peers
    const similar = [
      forwardKey.slice(1),
      `${forwardKey}a`,
      forwardKey.toLowerCase(),
      'é'.repeat(43),
    ]
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.constantFrom('', ...similar)), (shown) => {
        const { incoming } = received({ 'wan-forward-key': shown, 'wan-node-key': shown })
        expect(peers.isPeer(incoming)).toBe(false)
      }),
    )
  })
})

describe('a forwarded request', () => {
  it('brings the address of its client only with the key', () => {
    const headers = { 'wan-client-address': '192.0.2.7' }
    const plain = received(headers)
    expect(peers.receive(plain.incoming, plain.outgoing)).toBe(undefined)
    expect(plain.outgoing.wasCut).toBe(false)
    const shown = received({ ...headers, 'wan-forward-key': peers.forwardKey })
    expect(peers.receive(shown.incoming, shown.outgoing)).toBe('192.0.2.7')
  })

  it('is not given up by its client when its connection breaks, unless the node says so', () => {
    const headers = { 'wan-forward-key': peers.forwardKey, 'wan-forwarded-id': 'one' }
    const { incoming, outgoing } = received(headers)
    peers.receive(incoming, outgoing)
    expect(outgoing.wasCut).toBe(true)
    peers.hungUp('another')
    expect(outgoing.wasCut).toBe(true)
    peers.hungUp('one')
    expect(outgoing.wasCut).toBe(false)
  })
})
