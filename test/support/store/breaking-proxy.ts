/** A network in front of a PostgreSQL server that breaks around a commit. */
import { once } from 'node:events'
import net from 'node:net'
import { onTestFinished } from 'vitest'

export type Break =
  /** The commit does not arrive. */
  | 'before the commit'
  /** The commit arrives, and its answer does not. */
  | 'after the commit'

const commit = 'commit\0'

export type BreakingProxy = Awaited<ReturnType<typeof aBreakingProxy>>

export async function aBreakingProxy(serverUrl: string) {
  const target = new URL(serverUrl)
  const open = new Set<() => void>()
  let next: Break | undefined
  let statement = commit
  let staysDown = false
  let isDown = false
  const server = net.createServer((client) => {
    const database = net.connect(Number(target.port), target.hostname)
    let isDeaf = false
    const end = () => {
      open.delete(end)
      client.destroy()
      database.destroy()
    }
    if (isDown) return end()
    open.add(end)
    for (const socket of [client, database]) socket.on('error', end).on('close', end)
    client.on('data', (bytes) => {
      if (next === undefined || !bytes.includes(statement)) {
        database.write(bytes)
        return
      }
      const how = next
      next = undefined
      if (staysDown) isDown = true
      if (how === 'before the commit') return end()
      isDeaf = true
      database.write(bytes)
    })
    database.on('data', (bytes) => {
      if (isDeaf) end()
      else client.write(bytes)
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => {
    for (const end of open) end()
    server.close()
  })
  const url = new URL(serverUrl)
  url.port = String((server.address() as net.AddressInfo).port)
  return {
    url: url.href,
    /** Breaks around the next commit, or statement with this text, and then `staysDown` or accepts connections again. */
    breakNext(how: Break, then: 'goes on' | 'stays down' = 'goes on', at = commit) {
      next = how
      statement = at
      staysDown = then === 'stays down'
    },
    goDown() {
      isDown = true
      for (const end of open) end()
    },
    goUp() {
      isDown = false
    },
  }
}
