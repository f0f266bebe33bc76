/** Secrets of a webhook: which of them sign, and how a rotation replaces them. */

import { dayMs } from '../../domain/time.ts'
import type { WebhookSecret } from '../../domain/webhook.ts'
import type { Steady } from './delivery-clock.ts'

/** How long an old secret signs beside its successors, however many there are. */
export const overlapMs = dayMs

/** Each adds a signature of 48 bytes to every message. */
export const maxSecrets = 10

/** All that are good at that time: whoever knows any of them can verify. */
export const keysAt = (secrets: readonly WebhookSecret[], steady: Steady): readonly string[] =>
  goodAt(secrets, steady).map(({ key }) => key)

/** `undefined`: as many secrets as there may be are still good. */
export function rotated(
  secrets: readonly WebhookSecret[],
  key: string,
  steady: Steady,
): readonly WebhookSecret[] | undefined {
  const others = goodAt(secrets, steady).filter((one) => one.key !== key)
  const next = [{ key }, ...others.map((one) => ({ until: steady + overlapMs, ...one }))]
  return next.length > maxSecrets ? undefined : next
}

/** When the first of the old secrets ends, and another rotation is possible. */
export const firstEnd = (secrets: readonly WebhookSecret[], steady: Steady): Steady =>
  Math.min(...goodAt(secrets, steady).flatMap(({ until }) => (until === undefined ? [] : [until])))

const goodAt = (secrets: readonly WebhookSecret[], steady: Steady): readonly WebhookSecret[] =>
  secrets.filter(({ until }) => until === undefined || until > steady)
