/** Requests of clients on their way to the leader, and its responses on their way back. */
import { randomUUID } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response'
import { messageOf, RefusalError } from '../../domain/errors.ts'
import type { Logger } from '../../domain/log.ts'
import { breakOff, type Outgoing } from '../fast/outgoing.ts'
import { requestHeaders, responseHeaders } from '../peers/headers.ts'
import type { PeerCall, PeerOutcome } from '../peers/peer-connections.ts'
import {
  clientAddressHeader,
  forwardedIdHeader,
  forwardKeyHeader,
  nodeKeyHeader,
  notLeaderHeader,
  type Peers,
} from '../peers/peers.ts'
import { ForwardedBody } from './forwarded-body.ts'
import { createLeaderWatch, type Leader, type LeaderPort } from './leader-watch.ts'

export type ForwarderOptions = LeaderPort &
  Readonly<{
    peers: Pick<Peers, 'call' | 'forwardKey' | 'nodeKey'>
    log: Pick<Logger, 'info' | 'warn'>
    /** Longest wait for a leader that takes a request. */
    waitMs?: number
    /** Time that responses of a former leader may still take. */
    graceMs?: number
  }>

export type Forwarded = Readonly<{
  incoming: IncomingMessage
  outgoing: Outgoing
  /** IP address of the client, or its IPv6 network. */
  clientAddress: string
}>

export type Forwarder = ReturnType<typeof createForwarder>

/** The others elect a leader within 5 s. */
const defaultWaitMs = 10_000

/** The request is at the leader while its client is reported as gone. */
const maxReportMs = 1_000

/** A client that has gone receives nothing. */
const toNobody = RESPONSE_ALREADY_SENT

type Outcome = PeerOutcome | Readonly<{ how: 'not_leading'; error: Error }>

export function createForwarder({
  peers,
  log,
  waitMs = defaultWaitMs,
  graceMs,
  ...port
}: ForwarderOptions) {
  const leaders = createLeaderWatch(port, { ...(graceMs !== undefined && { graceMs }) })
  let isReachable = true

  return {
    /** Resolves when the response has begun. Rejects with a refusal, when nothing was sent to the client. */
    async forward(forwarded: Forwarded): Promise<Response> {
      const { incoming, outgoing } = forwarded
      const isSafe = incoming.method === 'GET' || incoming.method === 'HEAD'
      const body = new ForwardedBody(incoming)
      let until = performance.now() + waitMs
      let wasLost = false
      while (!outgoing.destroyed) {
        const leader = leaders.leader()
        const attempt = leader && send(leader, forwarded, body)
        const outcome = await attempt?.outcome
        // The request of a client that hung up was broken off here.
        if (!outgoing.destroyed) note(leader, outcome)
        if (attempt && outcome?.how === 'answered') {
          pass(attempt, outcome.response, body, outgoing)
          return RESPONSE_ALREADY_SENT
        }
        attempt?.end()
        body.pause()
        if (outcome?.how === 'lost') {
          if (!isSafe || wasLost || !body.isRepeatable) throw leaderLost(isSafe)
          wasLost = true
          until = performance.now() + waitMs
        }
        const leftMs = until - performance.now()
        if (leftMs <= 0 || !body.isRepeatable) throw wasLost ? leaderLost(isSafe) : noLeader()
        await leaders.pause(leftMs, outgoing)
      }
      return toNobody
    },

    close: leaders.close,
  }

  /** One line when the leader cannot be reached any more, and one when it can. */
  function note(leader: Leader | undefined, outcome: Outcome | undefined): void {
    if (!leader || !outcome) return
    if (outcome.how === 'answered') {
      if (!isReachable) log.info({ leader: leader.url }, 'the leading node can be reached again')
      isReachable = true
    } else if (isReachable) {
      const { how, error } = outcome
      log.warn({ leader: leader.url, how, error: messageOf(error) }, 'a request was not forwarded')
      isReachable = false
    }
  }

  function send(
    leader: Leader,
    { incoming, outgoing, clientAddress }: Forwarded,
    body: ForwardedBody,
  ) {
    const id = incoming.method === 'POST' ? randomUUID() : undefined
    const { method = 'GET', url: path = '/', headers } = incoming
    const call = peers.call(
      {
        ...{ url: leader.url, method, path },
        headers: requestHeaders(incoming, {
          ...(headers.host === undefined && { host: new URL(leader.url).host }),
          ...lengthOf(incoming),
          'x-request-id': outgoing.requestId,
          [forwardKeyHeader]: peers.forwardKey,
          [clientAddressHeader]: clientAddress,
          ...(id && { [forwardedIdHeader]: id }),
        }),
      },
      (request) => body.sendTo(request),
    )
    const release = leaders.hold(leader, () =>
      call.request.destroy(new Error('another node leads')),
    )
    const clientLeft = () => {
      const isWaiting = call.request.writableFinished && !outgoing.headersSent
      const mayCancel = id && isWaiting && !outgoing.wasCut
      if (mayCancel) void reportHangUp(leader, id).then(() => call.request.destroy())
      else call.request.destroy()
    }
    outgoing.once('close', clientLeft)
    /** To be called when the response has ended, or is not wanted. */
    const end = () => {
      release()
      outgoing.off('close', clientLeft)
      // Of the body that is not sent yet, nothing more is wanted.
      if (!call.request.writableFinished) call.request.destroy()
    }
    return { ...call, outcome: call.outcome.then(leadsOrNot), end }
  }

  /** Without it, the leader goes on: this node may have died, and the client still be interested. */
  async function reportHangUp({ url }: Leader, id: string): Promise<void> {
    const { request, outcome } = peers.call(
      {
        ...{ url, method: 'POST', path: `/internal/hang-ups/${id}` },
        headers: ['Host', new URL(url).host, 'Content-Length', '0', nodeKeyHeader, peers.nodeKey],
      },
      (connected) => connected.end(),
    )
    const timer = setTimeout(() => request.destroy(), maxReportMs)
    const result = await outcome
    clearTimeout(timer)
    if (result.how === 'answered') result.response.resume()
  }
}

/** A response is passed on as it arrives. One that breaks off breaks off for the client too. */
function pass(
  { request, end }: Pick<PeerCall, 'request'> & Readonly<{ end(): void }>,
  response: IncomingMessage,
  body: ForwardedBody,
  outgoing: Outgoing,
): void {
  const { statusCode = 502 } = response
  const headers = responseHeaders(response)
  // The leader does not wait for the rest of the body.
  const isLast = response.headers.connection === 'close' && !request.writableFinished
  outgoing.writeHead(statusCode, { ...headers, ...(isLast && { connection: 'close' }) })
  // The first event may come much later.
  if (!('content-length' in headers)) outgoing.flushHeaders()
  response.on('error', () => {})
  response.once('close', () => {
    if (!response.complete) breakOff(outgoing)
    end()
  })
  response.once('end', () => void body.hearOut().then(() => outgoing.end()))
  response.pipe(outgoing, { end: false })
}

/** Node would send a body of an unknown length. */
function lengthOf({ headers, method }: IncomingMessage): Record<string, string> {
  if (headers['transfer-encoding'] !== undefined) return { 'transfer-encoding': 'chunked' }
  const hasNone = headers['content-length'] === undefined && method !== 'GET' && method !== 'HEAD'
  return hasNone ? { 'content-length': '0' } : {}
}

/** A node that does not lead has taken nothing. */
function leadsOrNot(outcome: PeerOutcome): Outcome {
  if (outcome.how !== 'answered' || outcome.response.headers[notLeaderHeader] !== '1')
    return outcome
  outcome.response.resume()
  return { how: 'not_leading', error: new Error('the node does not lead') }
}

const noLeader = (): RefusalError =>
  new RefusalError(
    'no_leader',
    'No node leads the cluster now, or the leading node cannot be reached. Nothing was changed. Try again in a moment.',
  )

const leaderLost = (isSafe: boolean): RefusalError =>
  new RefusalError(
    'leader_lost',
    isSafe
      ? 'The connection to the leading node broke before its response. Try again in a moment.'
      : 'The connection to the leading node broke before its response. It is unknown whether the request was carried out. Look for its job, or send the request again with the same Idempotency-Key.',
  )
