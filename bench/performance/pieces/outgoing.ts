/** Sets the headers one by one, and makes a UUID for each request. */
import { randomUUID } from 'node:crypto'
import { type IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type * as product from '../../../src/http/fast/outgoing.ts'

export class Outgoing extends ServerResponse implements product.Outgoing {
  readonly requestId: string
  wasCut = false
  waitingBytes = () => 0
  owner: product.ResponseOwner | undefined

  constructor(incoming: IncomingMessage) {
    super(incoming)
    const asked = incoming.headers['x-request-id']
    const isWord = typeof asked === 'string' && /^[\w=-]{1,255}$/.test(asked)
    this.requestId = isWord ? asked : randomUUID()
    this.setHeader('content-security-policy', "default-src 'none'; frame-ancestors 'none'")
    this.setHeader('cross-origin-opener-policy', 'same-origin')
    this.setHeader('cross-origin-resource-policy', 'same-origin')
    this.setHeader('referrer-policy', 'no-referrer')
    this.setHeader('x-content-type-options', 'nosniff')
    this.setHeader('x-frame-options', 'DENY')
    this.setHeader('x-request-id', this.requestId)
  }

  override detachSocket(socket: Socket): void {
    super.detachSocket(socket)
    this.owner?.responseSent(this)
  }
}
