import type { Context } from 'hono'
import { type BodyReader, readerIn } from './edge.ts'

/**
 * Lets what is left of a refused body come in for a while, once the refusal is on its way. A client
 * that sends on is not cut off before it has read why, and one that listens need not send it all.
 */
export async function hearOut(c: Context): Promise<void> {
  const reader = readerIn(c)
  if (!reader) return
  const answer = new Uint8Array(await c.res.arrayBuffer())
  const headers = new Headers(c.res.headers)
  // With its length known, the answer is whole to the client before it ends here.
  headers.set('Content-Length', String(answer.length))
  const body = new ReadableStream<Uint8Array>({
    start: (controller) => controller.enqueue(answer),
    pull: async (controller) => {
      await takeTheRest(reader)
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
