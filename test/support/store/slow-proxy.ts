/** A slow network between a node and its database. */
import { once } from 'node:events'
import net from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { onTestFinished } from 'vitest'

const slicesPerSecond = 50

/** A proxy in front of the database at this URL that carries so many bytes per second in each direction. */
export async function aSlowProxy(databaseUrl: string, bytesPerSecond: number): Promise<string> {
  const target = new URL(databaseUrl)
  const slice = Math.ceil(bytesPerSecond / slicesPerSecond)
  const sockets = new Set<net.Socket>()
  const carry = (from: net.Socket, to: net.Socket) => {
    sockets.add(from)
    from.on('error', () => to.destroy()).on('close', () => to.destroy())
    from.on('data', async (bytes) => {
      from.pause()
      for (let at = 0; at < bytes.length; at += slice) {
        to.write(bytes.subarray(at, at + slice))
        await delay(1_000 / slicesPerSecond)
      }
      from.resume()
    })
  }
  const server = net.createServer((client) => {
    const database = net.connect(Number(target.port), target.hostname)
    carry(client, database)
    carry(database, client)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  const url = new URL(databaseUrl)
  url.port = String((server.address() as net.AddressInfo).port)
  return url.href
}
