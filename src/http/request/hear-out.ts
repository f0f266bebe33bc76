import type { IncomingMessage } from 'node:http'
import type { Context } from 'hono'
import { type BodyReader, readerIn } from './edge.ts'

/**
 * Lets what is left of a refused body come in for a while, once the refusal is on its way. A client
 * that sends on is not cut off before it has read why, and one that listens need not send it all.
 */
export async function hearOut(c: Context): Promise<void> {
  const reader = readerIn(c)
  if (reader) await endAfter(c, () => takeTheRest(reader))
}

/** As `hearOut`, where the body is not read through Hono. */
export async function hearOutIncoming(c: Context, incoming: IncomingMessage): Promise<void> {
  if (!incoming.complete) await endAfter(c, () => takeRestOf(incoming))
}

async function endAfter(c: Context, rest: () => Promise<void>): Promise<void> {
  const answer = new Uint8Array(await c.res.arrayBuffer())
  const headers = new Headers(c.res.headers)
  // With its length known, the answer is whole to the client before it ends here.
  headers.set('Content-Length', String(answer.length))
  const body = new ReadableStream<Uint8Array>({
    start: (controller) => controller.enqueue(answer),
    pull: async (controller) => {
      await rest()
      controller.close()
    },
  })
  c.res = new Response(body, { status: c.res.status, headers })
}

const maxRest = 16 * 1024 * 1024
const restMs = 5_000

async function takeTheRest(reader: NonNullable<BodyReader>): Promise<void> {
  const { promise: tooLate, resolve } = Promise.withResolvers<'too late'>()
  const timer = setTimeout(resolve, restMs, 'too late')
  let bytes = 0
  const isMore = async () => {
    const next = await Promise.race([reader.read(), tooLate]).catch(() => undefined)
    if (next === undefined || next === 'too late' || next.done) return false
    bytes += next.value.length
    return bytes < maxRest
  }
  while (await isMore());
  clearTimeout(timer)
}

/** Resolves at the end of the body, or when the rest of it is too long or takes too long. */
export async function takeRestOf(incoming: IncomingMessage): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  const timer = setTimeout(resolve, restMs)
  let bytes = 0
  const count = (piece: Buffer) => {
    bytes += piece.length
    if (bytes > maxRest) resolve()
  }
  incoming.on('data', count).once('end', resolve).once('close', resolve).resume()
  await promise
  clearTimeout(timer)
  incoming.off('data', count).pause()
}
