/** The service that runs on this machine with the same settings, as a client sees it. */

type Address = Readonly<{ host: string; port: number }>

/** A service that is starved answers late, and `wanctl doctor` is for people who wait. */
const patienceMs = 2_000

/** Whether a wan-supervisor listens there. */
export async function isOurs(address: Address): Promise<boolean> {
  try {
    return isHealth(await (await get(address, '/health')).json())
  } catch {
    return false
  }
}

/** Whether this is what a wan-supervisor responds at `/health`. */
export const isHealth = (body: unknown): boolean =>
  typeof body === 'object' && body !== null && 'given_up' in body

export const needsToken = 'the service asks for a token of an admin. Set WAN_TOKEN.'

export const isForbidden = (status: number): boolean => status === 401 || status === 403

/** Status and body of an answer; throws where there is none. `token`: of an admin, if there is one. */
export async function askService(
  address: Address,
  path: string,
  token: string | undefined,
): Promise<Readonly<{ status: number; body: unknown }>> {
  const headers = token === undefined ? {} : { Authorization: `Bearer ${token}` }
  const response = await get(address, path, headers)
  return { status: response.status, body: await response.json() }
}

function get({ host, port }: Address, path: string, headers: Record<string, string> = {}) {
  const reachable =
    { '0.0.0.0': '127.0.0.1', '::': '[::1]' }[host] ?? (host.includes(':') ? `[${host}]` : host)
  const signal = AbortSignal.timeout(patienceMs)
  return fetch(`http://${reachable}:${port}${path}`, { signal, headers })
}
