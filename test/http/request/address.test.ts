import { Hono } from 'hono'
import { describe, expect, it } from 'vitest'
import { clientAddress } from '../../../src/http/request/address.ts'
import type { ClientEnv } from '../../../src/http/request/client-env.ts'

/** What a request of this peer is taken for. */
async function seen(peer: string, proxies = 0, forwarded?: string): Promise<string> {
  const app = new Hono<ClientEnv>().get('/', (c) => c.text(clientAddress(c, proxies)))
  const headers = forwarded === undefined ? {} : { 'X-Forwarded-For': forwarded }
  const incoming = { socket: { remoteAddress: peer, remotePort: 1, remoteFamily: 'IPv4' } }
  return (await app.request('/', { headers }, { incoming })).text()
}

describe('the address of a client', () => {
  it.each([
    ['192.0.2.7', '192.0.2.7'],
    ['::ffff:192.0.2.7', '192.0.2.7'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
    ['2001:db8:1:2::1', '2001:db8:1:2::/64'],
    ['::1', '::/64'],
    ['fe80::1%eth0', 'fe80::/64'],
    ['', 'unknown'],
  ])('of %j is %j', async (peer, address) => {
    expect(await seen(peer)).toBe(address)
  })

  it('is what the peer says of itself for no one, unless proxies are trusted', async () => {
    expect(await seen('192.0.2.7', 0, '198.51.100.1')).toBe('192.0.2.7')
  })

  it.each([
    [1, '198.51.100.1', '198.51.100.1'],
    [1, '203.0.113.66, 198.51.100.1', '198.51.100.1'],
    [2, '203.0.113.66, 198.51.100.1, 10.0.0.2', '198.51.100.1'],
    [2, '198.51.100.1', '198.51.100.1'],
    [1, '2001:db8::7', '2001:db8::/64'],
    [1, 'unknown', '192.0.2.7'],
    [1, '198.51.100.1, ', '192.0.2.7'],
    [1, '', '192.0.2.7'],
    [1, undefined, '192.0.2.7'],
  ])('behind %i proxies that say %j is %s', async (proxies, forwarded, address) => {
    expect(await seen('192.0.2.7', proxies, forwarded)).toBe(address)
  })
})
