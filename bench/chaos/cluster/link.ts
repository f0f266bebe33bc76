/** A network between two processes that can be cut. */
import { once } from 'node:events'
import net from 'node:net'
import { loopback } from '../../performance/free-port.ts'

/** Connections break and new ones are refused, or all stay open and carry nothing. */
export type Cut = 'broken' | 'silent'

export type Link = Awaited<ReturnType<typeof createLink>>

/** `target`: the port behind it, which may change. */
export async function createLink(target: () => number | undefined) {
  const sockets = new Set<net.Socket>()
  let cut: Cut | undefined
  const server = net.createServer((client) => {
    const port = target()
    if (cut === 'broken' || port === undefined) {
      client.destroy()
      return
    }
    const far = net.connect(port, loopback)
    for (const [from, to] of [
      [client, far],
      [far, client],
    ] as const) {
      sockets.add(from)
      from.on('error', () => from.destroy())
      from.on('close', () => {
        sockets.delete(from)
        // Not even a hang-up gets through.
        if (cut !== 'silent') to.destroy()
      })
      from.on('data', (bytes) => {
        if (cut === undefined) to.write(bytes)
      })
    }
  })
  server.listen(0, loopback)
  await once(server, 'listening')
  const breakAll = () => {
    for (const socket of sockets) socket.destroy()
  }

  return {
    port: (server.address() as net.AddressInfo).port,
    cut(how: Cut): void {
      cut = how
      if (how === 'broken') breakAll()
    },
    /** Those that lost bytes are closed. */
    heal(): void {
      cut = undefined
      breakAll()
    },
    close(): void {
      cut = 'broken'
      breakAll()
      server.close()
    },
  }
}
