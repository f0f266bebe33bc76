/** Headers on their way from one connection to another. */
import type { IncomingMessage } from 'node:http'
import { peerHeaderPrefix } from './peers.ts'

/** They are about one connection (RFC 9110, 7.6.1). Node answers `Expect` itself. */
const ofOneConnection = new Set([
  ...['connection', 'keep-alive', 'proxy-connection', 'proxy-authenticate', 'proxy-authorization'],
  ...['te', 'trailer', 'transfer-encoding', 'upgrade', 'http2-settings', 'expect'],
])

/** `Connection` cannot remove them: they say where a message ends and for whom it is. */
const neverRemoved = new Set(['content-length', 'host'])

/** Whether a header is passed on, for a message with this `Connection`. */
function createPasses(connection: string | undefined): (name: string) => boolean {
  const named = new Set(connection?.split(',').map((name) => name.trim().toLowerCase()) ?? [])
  return (name) =>
    !ofOneConnection.has(name) &&
    !name.startsWith(peerHeaderPrefix) &&
    (!named.has(name) || neverRemoved.has(name))
}

/**
 * Headers of a request, as Node sends them: each name before its value. `own` replace those of the client, and come
 * first: some versions of Node drop headers beyond a limit, and the keys of this node must not be among them.
 */
export function requestHeaders(
  { rawHeaders, headers }: Pick<IncomingMessage, 'rawHeaders' | 'headers'>,
  own: Readonly<Record<string, string>>,
): string[] {
  const passes = createPasses(headers.connection)
  const passed: string[] = []
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const [name = '', value = ''] = rawHeaders.slice(index, index + 2)
    const lower = name.toLowerCase()
    if (passes(lower) && !(lower in own)) passed.push(name, value)
  }
  return [...Object.entries(own).flat(), ...passed]
}

/** Headers of a response; repeated ones stay repeated. */
export function responseHeaders({
  headersDistinct,
  headers,
}: Pick<IncomingMessage, 'headersDistinct' | 'headers'>): Record<string, string | string[]> {
  const passes = createPasses(headers.connection)
  const passed: Record<string, string | string[]> = {}
  for (const [name, values = []] of Object.entries(headersDistinct)) {
    if (passes(name)) passed[name] = values.length === 1 ? (values[0] ?? '') : values
  }
  return passed
}
