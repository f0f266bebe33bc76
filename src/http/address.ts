import { getConnInfo } from '@hono/node-server/conninfo'
import type { Context } from 'hono'
import ipaddr from 'ipaddr.js'

/**
 * Where a request comes from. Each proxy adds whom it heard from at the end of `X-Forwarded-For`; of
 * what stands there only as many entries are believed as there are proxies of ours.
 */
export function addressOf(c: Context, proxies: number): string {
  const peer = getConnInfo(c).remote.address ?? ''
  const forwarded = (c.req.header('X-Forwarded-For') ?? '').split(',').map((entry) => entry.trim())
  const [claimed = peer] = proxies > 0 ? forwarded.slice(-proxies) : []
  return networkOf(ipaddr.isValid(claimed) ? claimed : peer)
}

/** An IPv6 network as a whole: whoever has one address of it usually has them all. */
function networkOf(address: string): string {
  if (!ipaddr.isValid(address)) return 'unknown'
  const parsed = ipaddr.process(address)
  if (parsed.kind() === 'ipv4') return parsed.toString()
  return `${ipaddr.IPv6.networkAddressFromCIDR(`${parsed}/64`)}/64`
}
