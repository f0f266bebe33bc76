import type { Context } from 'hono'
import ipaddr from 'ipaddr.js'
import { LRUCache } from 'lru-cache'
import type { ClientEnv } from './client-env.ts'

/**
 * Where a request comes from. Each proxy adds whom it heard from at the end of `X-Forwarded-For`; of
 * what stands there only as many entries are believed as there are proxies of ours.
 */
export function clientAddress(c: Context<ClientEnv>, proxies: number): string {
  const peer = c.env.incoming.socket.remoteAddress ?? ''
  if (proxies === 0) return networkOf(peer)
  const forwarded = (c.req.header('X-Forwarded-For') ?? '').split(',').map((entry) => entry.trim())
  const [claimed = peer] = forwarded.slice(-proxies)
  return networkOf(ipaddr.isValid(claimed) ? claimed : peer)
}

/** Networks by address: requests come from few addresses. */
const networks = new LRUCache<string, string>({ max: 1_000 })

/** Of an IP address: itself, or its IPv6 network. */
export function networkOf(address: string): string {
  const known = networks.get(address)
  if (known !== undefined) return known
  const network = toNetwork(address)
  networks.set(address, network)
  return network
}

/** An IPv6 network as a whole: whoever has one address of it usually has them all. */
function toNetwork(address: string): string {
  if (!ipaddr.isValid(address)) return 'unknown'
  const parsed = ipaddr.process(address)
  if (parsed.kind() === 'ipv4') return parsed.toString()
  return `${ipaddr.IPv6.networkAddressFromCIDR(`${parsed}/64`)}/64`
}
