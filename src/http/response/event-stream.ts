/** Server-sent events: https://html.spec.whatwg.org/multipage/server-sent-events.html */
import { ReadableStream as NodeStream } from 'node:stream/web'
import { refOf } from '../../actors/actor.ts'
import type { LiveEvent, LiveMessage, Sight } from '../../actors/event/event-protocol.ts'

/** What may wait for one reader before it is let go: 256 events, fewer if their prompts are long. */
const maxWaitingBytes = 4 * 1024 * 1024
const minEventBytes = maxWaitingBytes / 256

/** What an event takes besides the job's prompt. */
const bytesBesidesPrompt = 1_000

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

/** What one connection has yet to be sent: so many bytes and no more. */
export function createReader({ heartbeatMs, letGo, onClosed }: ReaderOptions) {
  let controller: ReadableStreamDefaultController<LiveEvent | typeof heartbeat> | undefined
  const waiting = new ReadableStream<LiveEvent | typeof heartbeat>(
    {
      start(its) {
        controller = its
      },
      cancel: close,
    },
    { highWaterMark: maxWaitingBytes, size: bytesOf },
  )
  const beats = setInterval(() => offer(heartbeat), heartbeatMs)

  return {
    watcher: refOf<LiveMessage>('a reader of events', hear),
    waiting,
    waitingBytes: () => (controller ? maxWaitingBytes - (controller.desiredSize ?? 0) : 0),
    close,
  }

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

const bytesOf = (item: LiveEvent | typeof heartbeat): number =>
  typeof item === 'string' ? minEventBytes : Math.max(minEventBytes, bytesOfSights([item]))

/** Of these jobs and of the texts that show them, about. */
export const bytesOfSights = (sights: readonly Sight[]): number =>
  sights.reduce((sum, { view }) => sum + bytesBesidesPrompt + 2 * view.job.request.prompt.length, 0)

export type Frame = Readonly<{ event: string; id?: string; data: string }>

export const frameText = ({ event, id, data }: Frame): string =>
  `event: ${event}\n${id === undefined ? '' : `id: ${id}\n`}data: ${data}\n\n`

/** Sent as fast as it is read, and no faster. */
export function streamOf(frames: AsyncIterable<string>): ReadableStream<Uint8Array> {
  const texts = NodeStream.from(frames) as ReadableStream<string>
  return texts.pipeThrough(new TextEncoderStream())
}
