/** A receiver of webhooks that keeps to no protocol: it writes raw bytes, or none. */
import { once } from 'node:events'
import net from 'node:net'
import { onTestFinished } from 'vitest'

export type Answer = (socket: net.Socket) => void

/** Response after which HTTP ends and the connection stays. */
export const switching =
  'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n'

/** `open` counts its connections, `accepted` those that it has ever had. */
export async function startHostile(answer: Answer) {
  const sockets = new Set<net.Socket>()
  let accepted = 0
  const server = net.createServer((socket) => {
    accepted += 1
    sockets.add(socket)
    socket.on('error', () => {})
    socket.on('close', () => sockets.delete(socket))
    answer(socket)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  const { port } = server.address() as net.AddressInfo
  return {
    port,
    url: `http://127.0.0.1:${port}/`,
    open(): number {
      // One that reads nothing would not notice the end.
      for (const socket of sockets) socket.resume()
      return sockets.size
    },
    accepted: () => accepted,
  }
}
