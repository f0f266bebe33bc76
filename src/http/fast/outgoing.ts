import { randomUUID } from 'node:crypto'
import { type IncomingMessage, type OutgoingHttpHeaders, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'

/**
 * Right for answers that are data; a handler that serves a page sets its own. HTTPS is the proxy's,
 * and so is `Strict-Transport-Security`, which would bind its whole domain.
 */
const headersOfData: Readonly<OutgoingHttpHeaders> = {
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
}

/** Of this process, which numbers its requests: a UUID for each took longer than its route. */
const life = randomUUID().slice(0, 8)
let requests = 0

const nothing = () => 0

/** Learns that the kernel has taken all of an answer. */
export type ResponseOwner = { responseSent(response: Outgoing): void }

/**
 * Node's own answer, which sends what all answers have in common, under whatever a handler sets. All of it
 * in one go: set one by one, these headers took a tenth of a poll.
 */
export class Outgoing extends ServerResponse {
  /** What the request is called in logs and in its answer: as the client has it, if that is a plain word. */
  readonly requestId: string
  /** The service closed the connection; its client did not hang up. */
  wasCut = false
  owner: ResponseOwner | undefined
  /** Bytes of the answer that wait in front of the socket, about. */
  waitingBytes: () => number = nothing

  constructor(incoming: IncomingMessage) {
    super(incoming)
    const asked = incoming.headers['x-request-id']
    const isWord = typeof asked === 'string' && /^[\w=-]{1,255}$/.test(asked)
    this.requestId = isWord ? asked : `${life}-${(++requests).toString(36)}`
  }

  /** Node detaches an answer when the kernel has taken all of it; an event for that took longer. */
  override detachSocket(socket: Socket): void {
    super.detachSocket(socket)
    this.owner?.responseSent(this)
  }

  override writeHead(status: number, ...rest: readonly unknown[]): this {
    const headers: OutgoingHttpHeaders = { ...headersOfData, 'x-request-id': this.requestId }
    const given = rest.at(-1) as OutgoingHttpHeaders | undefined
    for (const name in given) headers[name.toLowerCase()] = given[name]
    return super.writeHead(status, headers)
  }
}

/** Ends the connection in the middle of the response, so that no client takes what it has for the whole. */
export function breakOff(response: Outgoing): void {
  response.wasCut = true
  // Without a length and without chunks, the end of the connection would be the end of the body.
  if (response.req.httpVersion === '1.0') response.socket?.resetAndDestroy()
  else response.destroy()
}
