/** Reads a stream of server-sent events as it comes, and keeps what it has read. */
import { createParser, type EventSourceMessage } from 'eventsource-parser'
import { onTestFinished, vi } from 'vitest'
import type { JobJson } from '../../src/http/views/job-view.ts'

export type ReadEvent = Readonly<{ event: string; id?: string | undefined; job: JobJson }>

export type EventReader = Awaited<ReturnType<typeof openEvents>>

/** `data` of every event is taken for a job; of the snapshot of all jobs it is a list of them. */
export async function openEvents(url: string, lastEventId?: string, token?: string) {
  const cut = new AbortController()
  onTestFinished(() => cut.abort())
  const headers = {
    ...(lastEventId !== undefined && { 'Last-Event-ID': lastEventId }),
    ...(token !== undefined && { Authorization: `Bearer ${token}` }),
  }
  const response = await fetch(url, { headers, signal: cut.signal })
  const events: ReadEvent[] = []
  const comments: string[] = []
  let retryMs: number | undefined
  let ended = false
  const parser = createParser({
    onEvent({ event = 'message', id, data }: EventSourceMessage) {
      events.push({ event, id, job: JSON.parse(data) as JobJson })
    },
    onComment: (comment) => comments.push(comment),
    onRetry(ms) {
      retryMs = ms
    },
  })
  void readAll().catch(() => {
    ended = true
  })

  return {
    status: response.status,
    headers: response.headers,
    events,
    comments,
    retryMs: () => retryMs,
    ended: () => ended,
    cut: () => cut.abort(),
    /** Waits until there is such an event, and gives it. */
    async until(isIt: (event: ReadEvent) => boolean): Promise<ReadEvent> {
      await vi
        .waitUntil(() => events.some(isIt), { timeout: 45_000 })
        .catch(() => {
          throw new Error(`no such event has come: ${JSON.stringify(events.slice(-5))}`)
        })
      return events.find(isIt) as ReadEvent
    },
    async untilEnd(): Promise<void> {
      await vi.waitUntil(() => ended, { timeout: 45_000 })
    },
  }

  async function readAll(): Promise<void> {
    const text = new TextDecoder()
    for await (const chunk of response.body ?? []) parser.feed(text.decode(chunk, { stream: true }))
    ended = true
  }
}
