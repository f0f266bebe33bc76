import { isDeepStrictEqual } from 'node:util'
import type { QueueNews } from '../queue-protocol.ts'
import { isBehind } from '../rules/attempt-rules.ts'

/**
 * News without messages that change nothing, in order. News is kept while the store cannot write, perhaps for a night,
 * and each attempt to write decides all of it again.
 *
 * A message is compared only with those since the latest news that may act on them: the end of an attempt stores its
 * latest reading.
 */
export function latestNews(news: readonly QueueNews[]): readonly QueueNews[] {
  const kept = new Map<number, QueueNews>()
  const latest = new Map<string, number>()
  for (const [at, message] of news.entries()) {
    const subject = subjectOf(message)
    const before = subject === undefined ? undefined : latest.get(subject)
    const known = before === undefined ? undefined : kept.get(before)
    if (known && addsNothing(message, known)) continue
    if (!isReplaced(message)) latest.clear()
    else if (before !== undefined) kept.delete(before)
    if (subject !== undefined) latest.set(subject, at)
    kept.set(at, message)
  }
  return [...kept.values()]
}

/** Messages with the same subject say the same thing again, as it is by then. */
function subjectOf(message: QueueNews): string | undefined {
  switch (message.type) {
    case 'generationReported':
      return `${message.type} ${message.jobId} ${message.epoch} ${message.gpu}`
    case 'roomChecked':
    case 'environmentChecked':
      return `${message.type} ${message.node}`
    default:
      return undefined
  }
}

/** Different checks of an installation all count: checks that succeed again explain the failures before. */
const isReplaced = ({ type }: QueueNews): boolean =>
  type === 'generationReported' || type === 'roomChecked'

/** The queue ignores a reading that is behind another one. */
const addsNothing = (message: QueueNews, known: QueueNews): boolean =>
  message.type === 'generationReported' && known.type === 'generationReported'
    ? isBehind(message.reading, known.reading)
    : isDeepStrictEqual(message, known)
