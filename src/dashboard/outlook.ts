/** What a job would wait for that were submitted now, in words. */
import { isReady } from './contact.ts'
import type { NextJob } from './state.ts'
import { duration, plural } from './words.ts'

export const isFirst = ({ queue_position: position }: NextJob): boolean => position === 1

/** Claims no more than the service does: a GPU that is free may be one that takes no jobs. */
export function outlookInWords(next: NextJob): string {
  const { queue_position: position, eta_seconds } = next
  if (!isReady.value) return 'What is submitted now waits until the service is ready.'
  const place = isFirst(next)
    ? 'A new video would be next'
    : `${plural(position - 1, 'job waits', 'jobs wait')}: a new video would be at place ${position}`
  return eta_seconds === null ? `${place}.` : `${place}, ready in about ${duration(eta_seconds)}.`
}
