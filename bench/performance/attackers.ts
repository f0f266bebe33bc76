/** `node attackers.ts URL`: connections that a service should survive, from ten addresses, opened again when they are cut. */
import net from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { crowd } from './hostile-crowd.ts'

const { port, hostname } = new URL(process.argv[2] ?? '')
const addresses = 10
/** Opened at once: more would be a flood of SYNs, which is the kernel's concern. */
const batch = 50

const request = (path: string) => `GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`
const heavy = ['/jobs?limit=200', '/events', '/openapi.json'].map(request)

let cut = 0
let numbers = 0
let isAttacking = true
/** The first time of each; whoever reads has been answered then, so that nobody waits to be accepted any more. */
const connected: Promise<unknown>[] = []

const idle = () => keepOpen(request('/health'), true)
const deaf = () => keepOpen(heavy[numbers % heavy.length] ?? '', false)
const pipelining = () => keepOpen(request('/openapi.json').repeat(1_000), false)

const all = [
  ...Array.from({ length: crowd.idle }, () => idle),
  ...Array.from({ length: crowd.deaf }, () => deaf),
  ...Array.from({ length: crowd.pipelining }, () => pipelining),
]
for (let begin = 0; begin < all.length; begin += batch) {
  for (const open of all.slice(begin, begin + batch)) void open()
  await delay(20)
}
await Promise.all(connected)
process.stdout.write('attacking\n')
process.on('message', () => {
  isAttacking = false
  process.send?.({ cut })
})

async function keepOpen(text: string, isReading: boolean): Promise<void> {
  const { promise, resolve: connect } = Promise.withResolvers<void>()
  connected.push(promise)
  while (isAttacking) {
    const localAddress = `127.0.1.${1 + (numbers++ % addresses)}`
    const socket = net.connect({ host: hostname, port: Number(port), localAddress })
    const closed = new Promise((resolve) => socket.once('close', resolve))
    socket.on('error', () => {})
    socket.once(isReading ? 'data' : 'connect', connect)
    if (isReading) socket.resume()
    else socket.pause()
    socket.write(text)
    await closed
    cut += 1
    await delay(1_000)
  }
}
