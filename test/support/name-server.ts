/** A name server that says what a test wants it to say: one A record at a time, and no other. */
import { createSocket } from 'node:dgram'
import { Resolver } from 'node:dns/promises'
import { once } from 'node:events'
import { onTestFinished } from 'vitest'

/** Each question for an address takes the next of `addresses`; the last one stays. */
export async function startNameServer(...addresses: string[]): Promise<Resolver> {
  const left = [...addresses]
  const socket = createSocket('udp4')
  socket.on('message', (query, { port, address }) => {
    const endOfName = query.indexOf(0, 12)
    const question = query.subarray(12, endOfName + 5)
    const isForIPv4 = query.readUInt16BE(endOfName + 1) === 1
    const next = left.length > 1 && isForIPv4 ? left.shift() : left[0]
    const ip = Buffer.from((next ?? '').split('.').map(Number))
    const answer = Buffer.concat([Buffer.from('c00c00010001000000000004', 'hex'), ip])
    const header = Buffer.concat([
      query.subarray(0, 2),
      Buffer.from(isForIPv4 ? '81800001000100000000' : '81800001000000000000', 'hex'),
    ])
    socket.send(Buffer.concat([header, question, ...(isForIPv4 ? [answer] : [])]), port, address)
  })
  socket.bind(0, '127.0.0.1')
  await once(socket, 'listening')
  onTestFinished(() => void socket.close())
  const resolver = new Resolver({ timeout: 2_000, tries: 1 })
  resolver.setServers([`127.0.0.1:${socket.address().port}`])
  return resolver
}
