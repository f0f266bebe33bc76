import type { LookupAddress } from 'node:dns'
import { lookup, Resolver } from 'node:dns/promises'
import http from 'node:http'
import https from 'node:https'
import { isIP, type LookupFunction } from 'node:net'
import { Webhook } from 'standardwebhooks'
import type { AttemptResult, WebhookSender } from '../../actors/webhook/webhook-ports.ts'
import type { AddressGuard } from '../../domain/address-guard.ts'

export type WebhookSenderOptions = Readonly<{
  guard: AddressGuard
  userAgent: string
  /** Asks the name servers themselves; names that are vouched for are looked up as the system does. */
  resolver?: Pick<Resolver, 'resolve4' | 'resolve6'>
  /** From the question for the address to the end of the answer. */
  withinMs?: number
}>

/** Of what the receiver says only the status counts; this much of the rest is listened to. */
const maxBytes = 16 * 1024

/** Sends signed messages over connections to addresses that have been checked, and to no others. */
export function createWebhookSender({
  guard,
  userAgent,
  resolver = new Resolver({ timeout: 3_000, tries: 2 }),
  withinMs = 15_000,
}: WebhookSenderOptions): WebhookSender {
  return {
    async send({ url: text, id, body, keys }) {
      // Again, since the settings may have changed since it was taken.
      const refusal = guard.refuse(text)
      if (refusal) return { how: 'failed', error: `The URL ${refusal}.` }
      const url = new URL(text)
      const at = new Date()
      const headers = {
        'Content-Type': 'application/json',
        'Content-Length': Buffer.byteLength(body),
        'User-Agent': userAgent,
        'webhook-id': id,
        'webhook-timestamp': String(Math.floor(at.getTime() / 1000)),
        'webhook-signature': keys.map((key) => new Webhook(key).sign(id, at, body)).join(' '),
      }
      const timeIsUp = AbortSignal.timeout(withinMs)
      const failed = (error: unknown): AttemptResult => ({
        how: 'failed',
        error: timeIsUp.aborted
          ? `There was no whole answer within ${withinMs / 1000} s.`
          : (error as Error).message,
      })
      return post(url, headers, body, timeIsUp).catch(failed)
    },
  }

  function post(
    url: URL,
    headers: http.OutgoingHttpHeaders,
    body: string,
    signal: AbortSignal,
  ): Promise<AttemptResult> {
    return new Promise((resolve, reject) => {
      const { request } = url.protocol === 'https:' ? https : http
      // A connection of its own: one that is kept may be to an address of yesterday.
      const sent = request(url, { method: 'POST', headers, signal, agent: false, lookup: checked })
      sent.on('error', reject)
      sent.once('response', (response) => {
        let left = maxBytes
        const answered = () => resolve(toResult(response))
        response.once('end', answered)
        response.once('close', answered)
        response.on('error', reject)
        response.on('data', (chunk: Buffer) => {
          left -= chunk.length
          if (left < 0) response.destroy()
        })
      })
      sent.end(body)
    })
  }

  /** In place of the system's own: the connection goes to what this says, so no later answer counts. */
  function checked(
    hostname: string,
    options: Parameters<LookupFunction>[1],
    callback: Parameters<LookupFunction>[2],
  ): void {
    addressesOf(hostname).then(
      (found) => {
        const [first] = found
        if (!first) callback(new Error(`There is no address of ${hostname}.`), [])
        else if (options.all) callback(null, [...found])
        else callback(null, first.address, first.family)
      },
      (error: Error) => callback(error, []),
    )
  }

  async function addressesOf(hostname: string): Promise<readonly LookupAddress[]> {
    if (guard.trusts(hostname)) return lookup(hostname, { all: true })
    const answers = await Promise.allSettled([
      resolver.resolve4(hostname),
      resolver.resolve6(hostname),
    ])
    const found = answers.flatMap((answer) => (answer.status === 'fulfilled' ? answer.value : []))
    const allowed = found.filter((address) => guard.isAllowed(address))
    if (found.length > 0 && allowed.length === 0) {
      throw new Error(
        `${hostname} is at ${found[0]}, which is not a public address (see WEBHOOK_ALLOW).`,
      )
    }
    return allowed.map((address) => ({ address, family: isIP(address) }))
  }
}

function toResult({ statusCode = 0, headers }: http.IncomingMessage): AttemptResult {
  const retryAfterMs = afterMs(headers['retry-after'])
  return {
    how: 'answered',
    status: statusCode,
    ...(retryAfterMs !== undefined && { retryAfterMs }),
  }
}

/** In seconds, or as a date. */
function afterMs(header: string | undefined): number | undefined {
  if (header === undefined) return undefined
  const ms = /^\d{1,9}$/.test(header) ? Number(header) * 1000 : Date.parse(header) - Date.now()
  return Number.isFinite(ms) ? Math.max(0, ms) : undefined
}
