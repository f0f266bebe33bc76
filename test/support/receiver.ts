/** A receiver of webhooks as users run them: a server that keeps what it is sent. */
import { once } from 'node:events'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { onTestFinished, vi } from 'vitest'

export type Received = Readonly<{
  path: string
  headers: Record<string, string>
  body: string
  event: Readonly<{ id: string; type: string; data: Record<string, unknown> }>
}>

export type Receiver = Awaited<ReturnType<typeof startReceiver>>

/** Answers 200 if nothing else is said; `port` 0 is any free one. */
export async function startReceiver({
  port = 0,
  host = '127.0.0.1',
  answer = (_: Received, response: http.ServerResponse): void => void response.end(),
}: {
  port?: number
  host?: string
  answer?: (received: Received, response: http.ServerResponse) => void
} = {}) {
  const received: Received[] = []
  const server = http.createServer(async (request, response) => {
    let body = ''
    for await (const chunk of request.setEncoding('utf8')) body += chunk
    const headers = request.headers as Record<string, string>
    const one = { path: request.url ?? '', headers, body, event: JSON.parse(body) }
    received.push(one)
    answer(one, response)
  })
  server.listen(port, host)
  await once(server, 'listening')
  const stop = async () => {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  }
  onTestFinished(stop)
  const { port: own } = server.address() as AddressInfo
  return {
    url: `http://${host}:${own}/hook`,
    port: own,
    received,
    stop,
    async until(count: number): Promise<readonly Received[]> {
      await vi
        .waitUntil(() => received.length >= count, { timeout: 45_000 })
        .catch(() => {
          throw new Error(`${received.length} of ${count} came: ${JSON.stringify(received)}`)
        })
      return received
    },
  }
}
