/** Server-sent events: https://html.spec.whatwg.org/multipage/server-sent-events.html */
import { ReadableStream as NodeStream } from 'node:stream/web'
import { refOf } from '../../actors/actor.ts'
import type { LiveEvent, LiveMessage } from '../../actors/event/event-protocol.ts'

/** How many events may wait for one reader before it is let go. */
const patience = 256

/** When a browser tries again, and so how long a restart may take without a second try. */
export const retryHint = 'retry: 2000\n\n'

const heartbeat = ': still here\n\n'

export const eventStreamHeaders = {
  'Content-Type': 'text/event-stream; charset=utf-8',
  'Cache-Control': 'no-cache, no-transform',
  // nginx would hold events back until there are enough of them.
  'X-Accel-Buffering': 'no',
}

export type ReaderOptions = Readonly<{
  heartbeatMs: number
  /** Its connection is to be cut: it does not read what it is sent. */
  letGo(): void
  /** Once, however it ended. */
  onClosed(): void
}>

/** What one connection has yet to be sent: so many events and no more. */
export function createReader({ heartbeatMs, letGo, onClosed }: ReaderOptions) {
  let controller: ReadableStreamDefaultController<LiveEvent | typeof heartbeat> | undefined
  const waiting = new ReadableStream<LiveEvent | typeof heartbeat>(
    {
      start(its) {
        controller = its
      },
      cancel: close,
    },
    { highWaterMark: patience },
  )
  const beats = setInterval(() => offer(heartbeat), heartbeatMs)

  return { watcher: refOf<LiveMessage>('a reader of events', hear), waiting, close }

  function hear(message: LiveMessage): boolean {
    if (message.type !== 'over') return offer(message)
    close()
    return false
  }

  function offer(item: LiveEvent | typeof heartbeat): boolean {
    if (!controller) return false
    if ((controller.desiredSize ?? 0) <= 0) {
      close()
      letGo()
      return false
    }
    controller.enqueue(item)
    return true
  }

  function close(): void {
    if (!controller) return
    const closed = controller
    controller = undefined
    clearInterval(beats)
    onClosed()
    try {
      closed.close()
    } catch {
      // Its reader has gone first.
    }
  }
}

export type Frame = Readonly<{ event: string; id?: string; data: string }>

export const frameText = ({ event, id, data }: Frame): string =>
  `event: ${event}\n${id === undefined ? '' : `id: ${id}\n`}data: ${data}\n\n`

/** Sent as fast as it is read, and no faster. */
export function streamOf(frames: AsyncIterable<string>): ReadableStream<Uint8Array> {
  const texts = NodeStream.from(frames) as ReadableStream<string>
  return texts.pipeThrough(new TextEncoderStream())
}
