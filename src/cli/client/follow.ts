/** A job as it goes on, over broken connections and restarts of the service. */
import { setTimeout as delay } from 'node:timers/promises'
import { EventSourceParserStream } from 'eventsource-parser/stream'
import type { Client, Job } from '../../http/typed-client.ts'
import { failureOf, responseOf, UnreachableError } from './service.ts'

export type Sighting = Readonly<
  | { event: 'snapshot' | 'status' | 'stage' | 'progress'; job: Job }
  /** Nobody answers for the moment; it is tried again until somebody does. */
  | { event: 'lost'; why: string }
>

export const isOver = ({ status }: Job): boolean => status !== 'queued' && status !== 'running'

/** What the service says itself, until it does. */
const firstRetryMs = 2_000

/** Ends with the sighting in which the job is over. */
export async function* follow(
  api: Client,
  id: string,
  signal: AbortSignal,
): AsyncGenerator<Sighting> {
  let lastId: string | undefined
  let retryMs = firstRetryMs
  for (;;) {
    try {
      const response = await responseOf(
        api.jobs[':id'].events.$get(
          { param: { id } },
          {
            headers: { ...(lastId !== undefined && { 'Last-Event-ID': lastId }) },
            init: { signal },
          },
        ),
      )
      const events = (response.body as ReadableStream<Uint8Array>)
        .pipeThrough(new TextDecoderStream() as TransformStream<Uint8Array, string>)
        .pipeThrough(
          new EventSourceParserStream({
            onRetry: (ms) => {
              retryMs = ms
            },
          }),
        )
      for await (const { event, id: eventId, data } of events) {
        lastId = eventId ?? lastId
        const job = JSON.parse(data) as Job
        yield { event: event as 'status', job }
        if (isOver(job)) return
      }
    } catch (error) {
      const failure = failureOf(error)
      if (!(failure instanceof UnreachableError)) throw failure
      yield { event: 'lost', why: failure.message }
    }
    await delay(retryMs, undefined, { signal })
  }
}
