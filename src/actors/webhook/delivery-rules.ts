/** What becomes of a delivery after an attempt. */

import { dayMs, hourMs } from '../../domain/time.ts'
import type { WebhookEvent } from '../../domain/webhook.ts'
import type { Steady } from './delivery-clock.ts'
import type { AttemptResult, Verdict } from './webhook-ports.ts'

/** How long a receiver may be down, while the service runs, without missing anything. */
export const patienceMs = dayMs

const firstDelayMs = 2_000
const maxDelayMs = hourMs

export type Tried = Readonly<{
  event: WebhookEvent
  /** When it was created or replayed. */
  since: Steady
  /** This one included. */
  attempts: number
}>

/** `random` is from 0 to below 1: what failed together is not to come again together. */
export function judge(
  { event, since, attempts }: Tried,
  result: AttemptResult,
  steady: Steady,
  random: number,
): Verdict {
  if (result.how === 'answered') {
    const { status } = result
    if (status >= 200 && status < 300) return { become: 'delivered' }
    if (status === 410) return { become: 'failed', gone: true }
  }
  const end = since + patienceMs
  // Who tests wants to know, not to wait.
  if (event === 'webhook.test' || steady >= end) return { become: 'failed', gone: false }
  const wished = result.how === 'answered' ? (result.retryAfterMs ?? 0) : 0
  const delayMs = Math.max(backOffMs(attempts, random), wished)
  return { become: 'pending', nextAt: Math.min(steady + delayMs, end) }
}

/** Twice as long each time, up to an hour, and up to half of it less. */
export function backOffMs(attempts: number, random: number): number {
  const delayMs = Math.min(firstDelayMs * 2 ** (attempts - 1), maxDelayMs)
  return Math.round(delayMs * (1 - random / 2))
}
