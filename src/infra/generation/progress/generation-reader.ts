/** One reading of a generation, from what it writes and from what our launcher tells about it. */
import { type Reading, stages, type Timestamp } from '../../../domain/job.ts'
import type { EmbeddingSource } from '../../../domain/observation.ts'
import type { AttemptClock } from '../attempt/attempt-clock.ts'
import { createEventReader, type Fallback } from './event-reader.ts'
import type { Evidence } from './failure.ts'
import { createOutputReader, type OutputStream } from './output-reader.ts'

export type GenerationStream = OutputStream | 'events'

export type GenerationReader = {
  /**
   * Takes bytes in chunks of any size, the last of which was written then; `more`: by then, as more
   * of them are there to be read. Returns the log lines that they completed.
   */
  feed(stream: GenerationStream, bytes: Uint8Array, writtenAt: Timestamp, more?: boolean): string[]
  /** No more bytes will come: returns the log lines that were left without an end. */
  end(): string[]
  /** The latest reading; undefined before the first sign of life. */
  readonly reading: Reading | undefined
  /** What the output so far says about the outcome. */
  readonly evidence: Evidence
}

export function createGenerationReader(options: {
  totalSteps: number
  startedAt: Timestamp
  onFallback?(fallback: Fallback): void
  onEncoded?(source: EmbeddingSource, number: number): void
  clock: Pick<AttemptClock, 'now' | 'place'>
}): GenerationReader {
  const output = createOutputReader(options)
  const events = createEventReader(options)

  return {
    feed(stream, bytes, writtenAt, more = false) {
      if (stream !== 'events') return output.feed(stream, bytes, more ? undefined : writtenAt)
      // They carry their own times, for which the clock of a file system is too coarse.
      events.feed(bytes, options.clock.now())
      return []
    },
    end: () => output.end(),
    get reading() {
      return leading(events.reading, output.reading)
    },
    get evidence() {
      return output.evidence
    },
  }
}

/**
 * Whichever is further; the events where both are as far. They know times to the millisecond, but
 * fall silent in a checkout that is not as the launcher knows it.
 */
export function leading(
  events: Reading | undefined,
  log: Reading | undefined,
): Reading | undefined {
  if (!events || !log) return events ?? log
  if (isAhead(events, log)) return events
  const { peakVramBytes } = events
  return { ...log, ...(peakVramBytes !== undefined && { peakVramBytes }) }
}

function isAhead(one: Reading, other: Reading): boolean {
  const stagesAhead = stages.indexOf(one.stage) - stages.indexOf(other.stage)
  return stagesAhead > 0 || (stagesAhead === 0 && (one.step ?? 0) >= (other.step ?? 0))
}
