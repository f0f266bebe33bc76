/** Secrets of a webhook: which of them sign, and how a rotation replaces them. */

import type { Timestamp } from '../../domain/job.ts'
import { dayMs } from '../../domain/time.ts'
import type { WebhookSecret } from '../../domain/webhook.ts'

/** How long an old secret signs beside its successor. */
export const overlapMs = dayMs

/** All that are good at that time: whoever knows any of them can verify. */
export const keysAt = (secrets: readonly WebhookSecret[], at: Timestamp): readonly string[] =>
  secrets.filter(({ until }) => until === undefined || until > at).map(({ key }) => key)

/** The last one signs on for a while, those before it no more. */
export function rotated(
  secrets: readonly WebhookSecret[],
  key: string,
  at: Timestamp,
): readonly WebhookSecret[] {
  const [latest] = secrets
  return [{ key }, ...(latest ? [{ key: latest.key, until: at + overlapMs }] : [])]
}
