/** What becomes of a delivery after an attempt. */

import type { Timestamp } from '../../domain/job.ts'
import { dayMs } from '../../domain/time.ts'
import type { WebhookEvent } from '../../domain/webhook.ts'
import type { AttemptResult, Verdict } from './webhook-ports.ts'

/** How long a receiver may be down without missing anything. */
export const patienceMs = dayMs

const firstDelayMs = 2_000
const maxDelayMs = 60 * 60_000

export type Tried = Readonly<{
  event: WebhookEvent
  /** When it was created or replayed. */
  since: Timestamp
  /** This one included. */
  attempts: number
}>

/** `random` is from 0 to below 1: what failed together is not to come again together. */
export function judge(
  { event, since, attempts }: Tried,
  result: AttemptResult,
  at: Timestamp,
  random: number,
): Verdict {
  if (result.how === 'answered') {
    const { status } = result
    if (status >= 200 && status < 300) return { become: 'delivered' }
    if (status === 410) return { become: 'failed', gone: true }
  }
  const end = since + patienceMs
  // Who tests wants to know, not to wait.
  if (event === 'webhook.test' || at >= end) return { become: 'failed', gone: false }
  const wished = result.how === 'answered' ? (result.retryAfterMs ?? 0) : 0
  const delayMs = Math.max(backOffMs(attempts, random), wished)
  return { become: 'pending', nextAt: Math.min(at + delayMs, end) }
}

/** Twice as long each time, up to an hour, and up to half of it less. */
export function backOffMs(attempts: number, random: number): number {
  const delayMs = Math.min(firstDelayMs * 2 ** (attempts - 1), maxDelayMs)
  return Math.round(delayMs * (1 - random / 2))
}
