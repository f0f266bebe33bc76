/** Where outside data becomes ours, and our refusals become exceptions. */
import type { Context } from 'hono'
import * as v from 'valibot'
import type { Repetition } from '../../actors/queue/queue-protocol.ts'
import { type RefusalCode, RefusalError } from '../../domain/errors.ts'

/**
 * Names the first field that is wrong and every rule that is broken. `unknown` is the refusal of a
 * field that the schema does not have.
 */
export function parse<Schema extends v.GenericSchema>(
  schema: Schema,
  input: unknown,
  unknown: RefusalCode = 'invalid_request',
): v.InferOutput<Schema> {
  const result = v.safeParse(schema, input)
  if (result.success) return result.output
  const faults = result.issues.map((issue) => `${v.getDotPath(issue) ?? 'body'}: ${issue.message}`)
  const [first] = result.issues
  const field = v.getDotPath(first)
  const code = first.expected === 'never' ? unknown : 'invalid_request'
  throw new RefusalError(code, faults.join('; '), field === null ? {} : { field })
}

/** The longest prompt, every character of it escaped, and room for the rest. */
const maxTextBytes = 256 * 1024

export type BodyReader = ReadableStreamDefaultReader<Uint8Array> | undefined

const readers = new WeakMap<Request, BodyReader>()

/** Who reads the body, if anybody has begun to. */
export const readerIn = (c: Context): BodyReader => readers.get(c.req.raw)

export async function readJson(c: Context, largest = maxTextBytes): Promise<unknown> {
  const type = c.req.header('Content-Type') ?? ''
  if (!/^application\/([\w.+-]+\+)?json\b/i.test(type)) {
    throw new RefusalError('unsupported_media_type', `Send the body as ${accepted(largest)}.`)
  }
  const bytes = await readBytes(c, largest)
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch (cause) {
    const why = cause instanceof TypeError ? 'it is not UTF-8' : (cause as Error).message
    throw new RefusalError('malformed_body', `The body is not JSON: ${why}.`, { cause })
  }
}

const accepted = (largest: number): string =>
  largest === maxTextBytes ? 'application/json' : 'multipart/form-data or application/json'

export const isForm = (c: Context): boolean =>
  /^multipart\/form-data\b/i.test(c.req.header('Content-Type') ?? '')

async function readBytes(c: Context, largest: number): Promise<ArrayBuffer | Buffer> {
  // Nearly every body is small and says so: Node reads no more than that, and faster in one piece.
  const length = Number(c.req.header('Content-Length'))
  if (length <= Math.min(largest, maxTextBytes)) return c.req.arrayBuffer()
  const chunks: Buffer[] = []
  for await (const chunk of bodyOf(c, largest)) chunks.push(chunk)
  return Buffer.concat(chunks)
}

/** How much of large bodies may be on its way in at once: a hundred of them are more than we hold. */
const maxAtOnce = 256 * 1024 * 1024
let atOnce = 0

/** Never more of it than is allowed, and nothing of one that says itself that it is more. */
export async function* bodyOf(
  c: Context,
  largest: number,
): AsyncGenerator<Buffer, void, undefined> {
  const reader = c.req.raw.body?.getReader()
  readers.set(c.req.raw, reader)
  const tooLarge = () =>
    new RefusalError('body_too_large', `The body must be at most ${largest} bytes.`)
  if (Number(c.req.header('Content-Length')) > largest) throw tooLarge()
  let bytes = 0
  let counted = 0
  try {
    while (reader) {
      const { done, value: chunk } = await reader.read()
      if (done) break
      bytes += chunk.length
      if (bytes > largest) throw tooLarge()
      // What fits into any request is always read: nobody is kept out by what others send.
      const more = Math.max(0, bytes - maxTextBytes) - counted
      if (atOnce + more > maxAtOnce) {
        throw new RefusalError(
          'service_busy',
          'Too much is being sent at once. Try again in a moment.',
        )
      }
      counted += more
      atOnce += more
      yield Buffer.from(chunk)
    }
  } finally {
    atOnce -= counted
  }
}

/** What every client may say, and what OpenAI's say by themselves. */
export function repetitionOf(c: Context): Repetition {
  const key = c.req.header('Idempotency-Key')
  const isRetry = Number(c.req.header('X-Stainless-Retry-Count') ?? 0) > 0
  if (key === undefined) return { isRetry }
  if (/^[\x21-\x7e]{1,255}$/.test(key)) return { key, isRetry }
  throw new RefusalError(
    'invalid_request',
    'Idempotency-Key: must be 1 to 255 ASCII characters without spaces',
    { field: 'Idempotency-Key' },
  )
}

/** For the document. */
export const repeatedHeaderSays = {
  'Idempotent-Replayed': '`true`: this was taken before, with the same `Idempotency-Key`',
}

/** Tells a client that its request was taken before. */
export const repeatedHeader = ({ repeated }: { repeated?: boolean }): Record<string, string> =>
  repeated ? { 'Idempotent-Replayed': 'true' } : {}

/** Of a request whose body may be left out. */
export const readJsonIfAny = async (c: Context): Promise<unknown> =>
  c.req.header('Content-Type') === undefined ? {} : readJson(c)
