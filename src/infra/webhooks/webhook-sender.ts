import type { LookupAddress } from 'node:dns'
import { lookup, Resolver } from 'node:dns/promises'
import { isIP, type LookupFunction } from 'node:net'
import { Webhook } from 'standardwebhooks'
import type { WebhookSender } from '../../actors/webhook/webhook-ports.ts'
import type { AddressGuard } from '../../domain/address-guard.ts'
import { exchange } from './exchange.ts'

export type WebhookSenderOptions = Readonly<{
  guard: AddressGuard
  userAgent: string
  /** Asks the name servers themselves; names that are vouched for are looked up as the system does. */
  resolver?: Pick<Resolver, 'resolve4' | 'resolve6'>
  /** From the question for the address to the end of the answer. */
  withinMs?: number
}>

/** Sends signed messages over connections to addresses that have been checked, and to no others. */
export function createWebhookSender({
  guard,
  userAgent,
  resolver = new Resolver({ timeout: 3_000, tries: 2 }),
  withinMs = 15_000,
}: WebhookSenderOptions): WebhookSender {
  return {
    async send({ url, id, body, keys }) {
      // Again, since the settings may have changed since it was taken.
      const refusal = guard.refuse(url)
      if (refusal) return { how: 'failed', error: `The URL ${refusal}.` }
      const at = new Date()
      const headers = {
        'Content-Type': 'application/json',
        'Content-Length': Buffer.byteLength(body),
        'User-Agent': userAgent,
        'webhook-id': id,
        'webhook-timestamp': String(Math.floor(at.getTime() / 1000)),
        'webhook-signature': keys.map((key) => new Webhook(key).sign(id, at, body)).join(' '),
      }
      return exchange(new URL(url), { headers, body, lookup: checked, withinMs })
    },
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
