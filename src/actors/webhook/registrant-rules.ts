/** Whether the client that registered a webhook may still receive what the webhook reports. */
import type { TokenHolder } from '../../domain/client.ts'
import type { Webhook } from '../../domain/webhook.ts'

/** A client in `API_TOKENS`. */
export type KnownClient = Pick<TokenHolder, 'name' | 'isAdmin'>

export type Registration = Pick<Webhook, 'owner' | 'registeredBy'>

/**
 * Why nothing is sent to it; `undefined`: it is served. Each of those that may have registered it has
 * to be a client still, and an admin where the webhook reports jobs of others.
 */
export function whyWithheld(
  { owner, registeredBy }: Registration,
  clients: readonly KnownClient[],
): string | undefined {
  // Without tokens every client is an admin, and none can be revoked.
  if (clients.length === 0) return undefined
  if (registeredBy.length === 0) return 'It was registered without a token.'
  for (const name of registeredBy) {
    const client = clients.find((one) => one.name === name)
    if (!client) return `The client ${name} is no longer in API_TOKENS.`
    if (!client.isAdmin && owner !== name) return `The client ${name} is no longer an admin.`
  }
  return undefined
}

/** An admin, or the client itself when it is back, makes a withheld webhook its own. */
export const takeOver = (
  registration: Registration,
  clients: readonly KnownClient[],
  name: string | null,
): readonly string[] =>
  name !== null && whyWithheld(registration, clients) !== undefined
    ? [name]
    : registration.registeredBy
