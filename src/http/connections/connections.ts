/** Owns the connections of a server: one request at a time on each, none for ever, room for others. */
import type { IncomingMessage, Server } from 'node:http'
import type { Socket } from 'node:net'
import type { Logger } from '../../domain/log.ts'
import type { CutReason, Observe } from '../../domain/observation.ts'
import type { Outgoing, ResponseOwner } from '../fast/outgoing.ts'
import { networkOf } from '../request/address.ts'
import type { Memory } from '../request/lane.ts'
import { connectionArrived } from '../request/turns.ts'
import { type ConnectionLimits, findOverdue, findRoom } from './connection-rules.ts'
import { type Connection, Crowd } from './crowd.ts'
import { createCutLog } from './cut-log.ts'
import { createRequestFeed, type RequestFeed } from './request-feed.ts'

/** How often all connections are measured; between, at most once in `minMeasureMs` when requests come. */
const sweepMs = 1_000
const minMeasureMs = 100
const maxGapMs = 5 * sweepMs

export type ConnectionsOptions = Readonly<{
  limits: ConnectionLimits
  /** Whether another node of the cluster sent a request. Its connection counts by itself; absent: there is none. */
  isPeer?: (request: IncomingMessage) => boolean
  /** Receives whether connections hold too much. */
  memory: Memory
  observe: Observe
  log: Pick<Logger, 'warn'>
}>

export type Connections = Readonly<{
  /** What ends from now on is ended by the service, and not by clients that hang up. */
  startClosing(): void
}>

/** To be called before anybody else listens to `request`. */
export function guardConnections(
  server: Server<typeof IncomingMessage, typeof Outgoing>,
  { limits, isPeer, memory, observe, log }: ConnectionsOptions,
): Connections {
  const crowd = new Crowd<OpenConnection>()
  const bySocket = new Map<Socket, OpenConnection>()
  const cutLog = createCutLog(log)
  let measuredAt = 0
  let heldBytes = 0
  let isClosing = false

  /** Undefined while there is nothing to look after: a service at rest sleeps. */
  let sweeping: NodeJS.Timeout | undefined
  server.once('close', () => clearInterval(sweeping))
  server.on('connection', admit)
  server.on('request', start)
  server.on('checkExpectation', (request, response) => {
    start(request, response)
    response.writeHead(417, { Connection: 'close' }).end()
  })

  memory.isShort = () => {
    measureIfOld()
    return heldBytes > limits.maxHeldBytes
  }

  return {
    startClosing() {
      isClosing = true
      for (const { responses } of crowd) for (const one of responses) one.wasCut = true
    },
  }

  function sweep(): void {
    measure()
    cutLog.report(performance.now())
    if (crowd.size > 0 || cutLog.hasMore()) return
    clearInterval(sweeping)
    sweeping = undefined
  }

  function admit(socket: Socket): void {
    const now = performance.now()
    connectionArrived()
    const address = networkOf(socket.remoteAddress ?? '')
    const isFull = crowd.size >= limits.maxConnections
    if (isFull || crowd.countOf(address) >= limits.maxPerAddress) {
      measureIfOld()
      const victim = findRoom(crowd, address, limits, now)
      if (victim) cut(victim, 'evicted')
      else {
        note('refused', address)
        socket.destroy()
        return
      }
    }
    const connection = new OpenConnection(socket, address, now, crowd)
    bySocket.set(socket, connection)
    crowd.add(connection)
    sweeping ??= setInterval(sweep, sweepMs).unref()
    observe({ saw: 'connectionOpened' })
    socket.once('close', () => forget(connection))
  }

  function start(request: IncomingMessage, response: Outgoing): void {
    const connection = bySocket.get(request.socket)
    if (!connection) return
    if (isClosing) response.wasCut = true
    if (!connection.isPeer && isPeer?.(request)) crowd.becamePeer(connection)
    connection.start(request, response)
    measureIfOld()
  }

  function measureIfOld(): void {
    if (performance.now() - measuredAt >= minMeasureMs) measure()
  }

  function measure(): void {
    const now = performance.now()
    // The service itself stood still, and no peer could take anything from it.
    const stoodStill = now - measuredAt > maxGapMs
    measuredAt = now
    const connections = [...crowd]
    heldBytes = 0
    for (const one of connections) {
      one.measure(now)
      if (stoodStill) one.progressAt = now
      heldBytes += one.heldBytes
    }
    for (const { connection, reason } of findOverdue(connections, limits, now))
      cut(connection, reason)
  }

  function cut(connection: OpenConnection, reason: CutReason): void {
    heldBytes -= connection.heldBytes
    note(reason, connection.address)
    forget(connection)
    connection.cut()
  }

  function note(reason: CutReason, address: string): void {
    observe({ saw: 'connectionCut', reason })
    cutLog.note(reason, address, performance.now())
  }

  function forget(connection: OpenConnection): void {
    if (!crowd.delete(connection)) return
    bySocket.delete(connection.socket)
    observe({ saw: 'connectionClosed' })
  }
}

class OpenConnection implements Connection, ResponseOwner {
  readonly socket: Socket
  readonly address: string
  isPeer = false
  /** In progress: one, unless a body was followed by further requests in the same piece. */
  readonly responses = new Set<Outgoing>()
  since: number
  heldBytes = 0
  progressAt: number
  readonly #feed: RequestFeed
  readonly #crowd: Crowd<OpenConnection>
  #moved = 0

  constructor(socket: Socket, address: string, now: number, crowd: Crowd<OpenConnection>) {
    this.socket = socket
    this.address = address
    this.since = now
    this.progressAt = now
    this.#feed = createRequestFeed(socket)
    this.#crowd = crowd
  }

  get isBusy(): boolean {
    return this.responses.size > 0
  }

  start(request: IncomingMessage, response: Outgoing): void {
    if (!this.isBusy) this.since = performance.now()
    this.responses.add(response)
    this.#crowd.becameIdleOrBusy(this)
    response.owner = this
    this.#feed.requestStarted(request)
  }

  responseSent(response: Outgoing): void {
    this.responses.delete(response)
    if (!this.isBusy) this.since = performance.now()
    this.#crowd.becameIdleOrBusy(this)
    this.#feed.responseSent()
  }

  measure(now: number): void {
    const { socket } = this
    const unsent = socket.writableLength
    this.heldBytes = unsent + this.#feed.heldBytes()
    for (const { waitingBytes } of this.responses) this.heldBytes += waitingBytes()
    const moved = takenBytes(socket) + this.#feed.parsedBytes()
    if (this.heldBytes === 0 || moved !== this.#moved) this.progressAt = now
    this.#moved = moved
  }

  cut(): void {
    for (const response of this.responses) response.wasCut = true
    // Without a reset, the kernel would go on offering what the peer does not take.
    if (this.socket.writableLength > 0) this.socket.resetAndDestroy()
    else this.socket.destroy()
  }
}

/**
 * What the kernel has taken of all that was written: a large piece is taken bit by bit, which only the handle of the
 * socket tells. Node's own `setTimeout` of sockets goes by it as well.
 */
function takenBytes(socket: Socket): number {
  const { _handle: handle } = socket as Socket & { _handle?: Handle | null }
  return handle ? handle.bytesWritten - handle.writeQueueSize : socket.bytesWritten
}

type Handle = Readonly<{ bytesWritten: number; writeQueueSize: number }>
