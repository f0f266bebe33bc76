/** The names under which the service may be called. */
import type { IncomingMessage } from 'node:http'
import type { Context } from 'hono'
import type { RouterRoute } from 'hono/types'
import { RefusalError } from '../../domain/errors.ts'
import { unreadable } from '../response/problem.ts'
import type { ClientEnv } from './client-env.ts'

export type OwnHosts = Readonly<{
  /** `HOST`: a name or an IP address. */
  host: string
  /** `HOST_BASE_URL`; may be empty. */
  baseUrl: string
  /** `ALLOWED_HOSTS`; `*`: every name. */
  allowed: readonly string[]
}>

/**
 * Refuses a `Host` that cannot be read, a second one, and with `own` every foreign name.
 *
 * Without tokens, a page of a foreign name that resolves to this service (DNS rebinding) would pass for a page of the
 * service: the browser sends that name as `Host` and as `Origin`, and calls its requests same-origin.
 */
export function createRefuseHosts(own: OwnHosts | undefined) {
  const isOwn = own && createIsOwnHost(own)
  // Nearly all requests have the same Host.
  let known: string | undefined
  return (c: Context<ClientEnv>, asked: RouterRoute | undefined): void => {
    const { incoming } = c.env
    const { host } = incoming.headers
    if (hasTwoHosts(incoming)) throw twoHosts()
    if (host === undefined && incoming.httpVersion === '1.1') throw noHost()
    const isPath = incoming.url?.startsWith('/')
    if (isPath && host !== undefined && host === known) return
    // A malformed Host would be parsed as part of the path.
    const url = URL.parse(c.req.url)
    if (!url || /[/?#@\\]/.test(host ?? '')) throw unreadable()
    // Health checks call containers by any name, and learn nothing.
    if (isOwn && asked?.path !== '/health') {
      for (const name of [url.hostname, hostnameOf(host ?? url.host)]) {
        if (!isOwn(name)) throw hostNotAllowed(name)
      }
      known = host
    }
    if (!isOwn) known = host
  }
}

/** No name server can make an IP address or `localhost` lead elsewhere, so they need no list. */
export function createIsOwnHost({
  host,
  baseUrl,
  allowed,
}: OwnHosts): (hostname: string) => boolean {
  if (allowed.includes('*')) return () => true
  const base = URL.parse(baseUrl)?.host ?? ''
  const names = new Set(['localhost', ...[host, base, ...allowed].map(hostnameOf)])
  return (hostname) => isAddress(hostname) || names.has(hostname.replace(/\.$/, ''))
}

/** Without its port, as a URL has it: in lower case, addresses in their usual form. */
const hostnameOf = (host: string): string =>
  (URL.parse(`http://${host}`)?.hostname ?? '').replace(/\.$/, '')

const isAddress = (hostname: string): boolean => /^(\[.*\]|\d+(\.\d+){3})$/.test(hostname)

/** A proxy could go by one of them, and the service by the other. */
function hasTwoHosts({ rawHeaders }: IncomingMessage): boolean {
  let count = 0
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = rawHeaders[index]
    if (name?.length === 4 && name.toLowerCase() === 'host') count += 1
  }
  return count > 1
}

const twoHosts = (): RefusalError =>
  new RefusalError('malformed_request', 'Host: the header is sent twice; send it once.', {
    field: 'Host',
  })

const noHost = (): RefusalError =>
  new RefusalError('malformed_request', 'Host: the header is missing; HTTP/1.1 requires it.', {
    field: 'Host',
  })

const hostNotAllowed = (name: string): RefusalError =>
  new RefusalError(
    'host_not_allowed',
    `Host: "${name}" is not a known name of this service. Use its IP address or localhost, or add the name to ALLOWED_HOSTS.`,
    { field: 'Host' },
  )
