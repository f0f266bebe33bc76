/** Where messages may be sent that strangers have asked for: to the public internet and nowhere else. */
import { isIP } from 'node:net'
import ipaddr from 'ipaddr.js'

/** What the operator vouches for: a host by its name, or a range of addresses. */
export type Allowed = Readonly<
  { host: string } | { range: readonly [ipaddr.IPv4 | ipaddr.IPv6, number] }
>

export type AddressGuard = {
  /** Why nothing may be sent there, as far as that can be said without asking for addresses. */
  refuse(url: string): string | undefined
  /** Its name is vouched for: then all of its addresses are. */
  trusts(hostname: string): boolean
  isAllowed(address: string): boolean
}

/** A host, an address, or a range like `10.0.0.0/8`; `undefined`: none of these. */
export function parseAllowed(text: string): Allowed | undefined {
  if (ipaddr.isValidCIDR(text)) return { range: ipaddr.parseCIDR(text) }
  const bare = text.replace(/^\[(.*)\]$/, '$1')
  if (isIP(bare)) {
    const address = ipaddr.parse(bare)
    return { range: [address, address.kind() === 'ipv4' ? 32 : 128] }
  }
  const host = text.toLowerCase()
  const isHost =
    /^(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*$/
  // What consists of numbers alone is an address that is not well written.
  return isHost.test(host) && !/^[\d.]+$/.test(host) ? { host } : undefined
}

export function createAddressGuard(allowed: readonly Allowed[]): AddressGuard {
  const hosts = new Set(allowed.flatMap((one) => ('host' in one ? [one.host] : [])))
  const ranges = allowed.flatMap((one) => ('range' in one ? [one.range] : []))
  const isVouchedFor = (address: ipaddr.IPv4 | ipaddr.IPv6) =>
    ranges.some(([base, bits]) => base.kind() === address.kind() && address.match([base, bits]))

  const guard: AddressGuard = {
    trusts: (hostname) => hosts.has(withoutDot(hostname)),

    isAllowed(text) {
      if (!ipaddr.isValid(text)) return false
      // An IPv4 address in the clothes of IPv6 is judged as what it is.
      const address = ipaddr.process(text)
      return isVouchedFor(address) || isPublic(address)
    },

    refuse(text) {
      // Also turns 0x7f.1, 2130706433 and their like into the addresses that they are.
      const url = URL.canParse(text) ? new URL(text) : undefined
      if (!url) return 'must be a URL, like https://example.org/hook'
      if (url.protocol !== 'https:' && url.protocol !== 'http:') return 'must be http or https'
      if (url.username || url.password) return 'must not have a user or password in it'
      const host = hostOf(url)
      if (guard.trusts(host)) return undefined
      if (isIP(host)) {
        const isOk = guard.isAllowed(host)
        if (!isOk) return `must not lead to ${host}, which is not public (see WEBHOOK_ALLOW)`
        if (isVouchedFor(ipaddr.process(host))) return undefined
      } else if (/(^|\.)(localhost|local|internal|home\.arpa)\.?$/.test(host)) {
        return `must not lead to ${host}, which is not public (see WEBHOOK_ALLOW)`
      }
      return isOrdinary(url.port)
        ? undefined
        : `must not lead to port ${url.port}, which belongs to another service (see WEBHOOK_ALLOW)`
    },
  }
  return guard
}

const hostOf = ({ hostname }: URL): string => hostname.replace(/^\[(.*)\]$/, '$1')

/** Of IPv6 only what has been given out so far: the rest is for purposes that lead back to IPv4, or to nowhere. */
const isPublic = (address: ipaddr.IPv4 | ipaddr.IPv6): boolean =>
  address.range() === 'unicast' &&
  (address.kind() === 'ipv4' || address.match(ipaddr.parseCIDR('2000::/3')))

const withoutDot = (hostname: string): string => hostname.replace(/\.$/, '')

/** Web servers listen there; below 1024 anything else is a service that was never meant to be told of videos. */
const isOrdinary = (port: string): boolean =>
  port === '' || port === '80' || port === '443' || Number(port) >= 1024
