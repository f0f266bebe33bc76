/** A network between a node and its database that can fall silent: connections stay open and carry nothing. */
import { once } from 'node:events'
import net from 'node:net'
import { onTestFinished } from 'vitest'

/** A proxy in front of the database at this URL. */
export async function aSilentProxy(databaseUrl: string) {
  const target = new URL(databaseUrl)
  const sockets = new Set<net.Socket>()
  let isSilent = false
  let isClosed = false
  const server = net.createServer((client) => {
    if (isClosed) {
      client.destroy()
      return
    }
    const database = net.connect(Number(target.port), target.hostname)
    const end = () => {
      client.destroy()
      database.destroy()
    }
    for (const [from, to] of [
      [client, database],
      [database, client],
    ] as const) {
      sockets.add(from)
      from.on('error', end).on('close', () => {
        sockets.delete(from)
        // A side that falls silent does not even report that the other side hung up.
        if (!isSilent) to.destroy()
      })
      from.on('data', (bytes) => {
        if (!isSilent) to.write(bytes)
      })
    }
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  const url = new URL(databaseUrl)
  url.port = String((server.address() as net.AddressInfo).port)
  return {
    url: url.href,
    fallSilent() {
      isSilent = true
    },
    /** Connections that are open go on. */
    refuseNew() {
      isClosed = true
    },
    /** New connections work. Those that lost bytes are closed. */
    heal() {
      isSilent = false
      isClosed = false
      for (const socket of sockets) socket.destroy()
    },
  }
}
