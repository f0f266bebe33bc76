/** A network that breaks at the worst moment: the request has arrived, and its answer never does. */
import { once } from 'node:events'
import net from 'node:net'
import { onTestFinished } from 'vitest'

/** Cuts the first `drops` connections as soon as the service has begun to answer. */
export async function aDroppingProxy(serviceUrl: string, drops: number) {
  const target = Number(new URL(serviceUrl).port)
  let dropped = 0
  const server = net.createServer((client) => {
    const service = net.connect(target, '127.0.0.1')
    const end = () => {
      client.destroy()
      service.destroy()
    }
    for (const socket of [client, service]) socket.on('error', end).on('close', end)
    client.pipe(service)
    service.on('data', (bytes) => {
      if (dropped < drops) {
        dropped += 1
        client.resetAndDestroy()
        service.destroy()
      } else client.write(bytes)
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => void server.close())
  const { port } = server.address() as net.AddressInfo
  return { url: `http://127.0.0.1:${port}`, dropped: () => dropped }
}
