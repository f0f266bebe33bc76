/** Requests of one connection, one after the other. */
import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import { takeTurn } from '../request/turns.ts'

/**
 * Bytes that are read ahead while a request is in progress. Reading goes on up to there, because only a socket that is
 * read tells that its peer has hung up. As large as the largest header that Node takes.
 */
const maxReadAhead = 16 * 1024

/** Pieces of a body are no smaller, whatever is in it: each costs some microseconds. */
const minBodyPiece = 256

/** Pieces that are parsed before others get their turn. */
const maxPiecesAtOnce = 32

const headerEnd = Buffer.from('\r\n\r\n')

/**
 * Length of the next piece for the parser: up to the end of a header, so that no piece holds more than two requests; in
 * a body, more than a few.
 */
export function lengthOfPiece(bytes: Buffer, isInBody: boolean): number {
  const end = bytes.indexOf(headerEnd, isInBody ? minBodyPiece - headerEnd.length : 0)
  return end < 0 ? bytes.length : end + headerEnd.length
}

/** Of a body that has begun: what is larger is counted where it is read, or is on disk already. */
const maxCountedBody = 256 * 1024

export type RequestFeed = Readonly<{
  /** Bytes in memory: a body that is not complete, or requests that wait behind the one in progress. */
  heldBytes(): number
  /** Grows with each byte that becomes part of a request. */
  parsedBytes(): number
  requestStarted(request: IncomingMessage): void
  /** All of it has been handed over to the kernel. */
  responseSent(): void
}>

/**
 * Node parses all that has come at once, and starts each request that it finds: 64 KiB hold 2,500 of them. Here the
 * parser gets the next request when the response before it has been handed over to the kernel.
 */
export function createRequestFeed(socket: Socket): RequestFeed {
  // With another listener, Node's server gives up reading the socket without JavaScript, and parses what `data` brings.
  const [parse] = socket.listeners('data') as ((bytes: Buffer) => void)[]
  let held: Buffer | undefined
  let latest: IncomingMessage | undefined
  let inProgress = 0
  let parsed = 0
  let parsedBefore = 0
  let isEnded = false
  let isPausedHere = false

  if (parse) {
    socket.off('data', parse)
    socket.on('data', (bytes: Buffer) => {
      held = held ? Buffer.concat([held, bytes]) : bytes
      feed()
    })
    // Node resumes a socket for reasons of its own.
    socket.on('resume', feed)
    socket.once('end', () => {
      isEnded = true
    })
  }

  return {
    heldBytes() {
      if (isInBody()) return Math.min(parsed - parsedBefore, maxCountedBody)
      return isWaiting() ? (held?.length ?? 0) + socket.readableLength : 0
    },
    parsedBytes: () => parsed,
    requestStarted(request) {
      latest = request
      parsedBefore = parsed
      inProgress += 1
    },
    responseSent() {
      inProgress -= 1
      if (inProgress === 0 && (held || isPausedHere)) takeTurn(goOn)
    },
  }

  function goOn(): void {
    if (!isPausedHere) {
      feed()
      return
    }
    isPausedHere = false
    // Paused by Node as well: it resumes the socket when its responses have left.
    if (!(socket as Socket & { _paused?: boolean })._paused) socket.resume()
  }

  function feed(): void {
    for (let pieces = 0; parse && held && !isWaiting() && !socket.isPaused(); pieces += 1) {
      // The connection ends with the response before.
      if (isEnded || socket.destroyed || !socket.writable) {
        held = undefined
        return
      }
      if (pieces === maxPiecesAtOnce) {
        takeTurn(feed)
        return
      }
      const length = lengthOfPiece(held, isInBody())
      const bytes = held
      const isWhole = length === bytes.length
      held = isWhole ? undefined : bytes.subarray(length)
      parsed += length
      parse(isWhole ? bytes : bytes.subarray(0, length))
    }
    if (!held || !isWaiting()) return
    held = withoutEmptyLines(held)
    if ((held?.length ?? 0) <= maxReadAhead) return
    isPausedHere = true
    socket.pause()
  }

  function isInBody(): boolean {
    return latest?.complete === false
  }

  /** What comes now is not a part of the request in progress. */
  function isWaiting(): boolean {
    return inProgress > 0 && !isInBody()
  }
}

/** Some clients send a line break behind a body, which is no request (RFC 9112, 2.2). */
function withoutEmptyLines(bytes: Buffer): Buffer | undefined {
  const begin = bytes.findIndex((byte) => byte !== 0x0d && byte !== 0x0a)
  return begin < 0 ? undefined : bytes.subarray(begin)
}
