import http from 'node:http'
import https from 'node:https'
import type { LookupFunction } from 'node:net'
import type { AttemptResult } from '../../actors/webhook/webhook-ports.ts'

export type ExchangeOptions = Readonly<{
  headers: http.OutgoingHttpHeaders
  body: string
  lookup: LookupFunction
  /** From the lookup of the address to the end of the response. */
  withinMs: number
}>

/**
 * Only the status of a response matters. Headers, interim responses (1xx) and body count together:
 * an endless series of `103 Early Hints` is as large as an endless body.
 */
const maxBytes = 64 * 1024

/**
 * One POST and its response. The promise resolves by the deadline whatever the receiver does, never
 * rejects, and leaves no connection open.
 */
export function exchange(
  url: URL,
  { headers, body, lookup, withinMs }: ExchangeOptions,
): Promise<AttemptResult> {
  return new Promise((resolve) => {
    const { request } = url.protocol === 'https:' ? https : http
    // One connection per attempt: a connection that is kept may lead to an outdated address.
    const sent = request(url, { method: 'POST', headers, agent: false, lookup })
    let answer: http.IncomingMessage | undefined
    let received = 0

    const end = (result: AttemptResult) => {
      clearTimeout(deadline)
      resolve(result)
      sent.destroy()
    }
    const fail = (error: string) => end({ how: 'failed', error })
    const deadline = setTimeout(
      () => fail(`There was no complete response within ${withinMs / 1000} s.`),
      withinMs,
    )

    sent.on('error', (error) => fail(error.message))
    sent.on('socket', (socket) => {
      socket.on('data', (chunk: Buffer) => {
        received += chunk.length
        if (received <= maxBytes) return
        if (answer) end(toResult(answer))
        else fail(`The receiver sent more than ${maxBytes / 1024} KiB before its response.`)
      })
    })
    // Without this listener, Node drops the connection and reports neither a response nor an error.
    sent.on('upgrade', (switching, socket) => {
      socket.on('error', () => {})
      socket.destroy()
      end(toResult(switching))
    })
    sent.on('response', (response) => {
      answer = response
      response.on('error', (error) => fail(error.message))
      response.on('end', () => end(toResult(response)))
      response.resume()
    })
    // Also the end of connections that no other event reports.
    sent.on('close', () => {
      if (answer?.complete) end(toResult(answer))
      else fail('The receiver closed the connection before its response was complete.')
    })
    sent.end(body)
  })
}

function toResult({ statusCode = 0, headers }: http.IncomingMessage): AttemptResult {
  const retryAfterMs = afterMs(headers['retry-after'], headers.date)
  return {
    how: 'answered',
    status: statusCode,
    ...(retryAfterMs !== undefined && { retryAfterMs }),
  }
}

/** In seconds, or as a date. The receiver's clock decides how far away its date is. */
function afterMs(header: string | undefined, sentAt: string | undefined): number | undefined {
  if (header === undefined) return undefined
  const ms = /^\d{1,9}$/.test(header) ? Number(header) * 1000 : Date.parse(header) - dateOf(sentAt)
  return Number.isFinite(ms) ? Math.max(0, ms) : undefined
}

function dateOf(header: string | undefined): number {
  const at = Date.parse(header ?? '')
  return Number.isFinite(at) ? at : Date.now()
}
