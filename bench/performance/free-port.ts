import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'

export const loopback = '127.0.0.1'

/** Nobody listens to it on loopback, for now. */
export async function freePort(): Promise<number> {
  const probe = createServer().listen(0, loopback)
  await once(probe, 'listening')
  const { port } = probe.address() as AddressInfo
  probe.close()
  await once(probe, 'close')
  return port
}
