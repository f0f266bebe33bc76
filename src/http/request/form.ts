/** Bodies with an image: what is text is read, and a file is on disk as soon as it has come. */
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { Busboy, type BusboyHeaders, type BusboyInstance } from '@fastify/busboy'
import type { Context } from 'hono'
import { RefusalError } from '../../domain/errors.ts'
import type { UploadedImage } from '../../domain/job.ts'
import { bodyOf, isForm, readJson } from './edge.ts'

export type Uploads = {
  receive(stream: Readable, field: string): Promise<UploadedImage>
  /** Of one that no job has taken; harmless if one has. */
  discard(uploadId: string): Promise<void>
}

/** An image that has really come in: nothing that a body says can pass for one. */
export class ReceivedImage {
  readonly image: UploadedImage

  constructor(image: UploadedImage) {
    this.image = image
  }
}

/** An image of 20 MiB and all the text around it; the same image in Base64 has to be a smaller one. */
export const maxFormBytes = 21 * 1024 * 1024

export type BodyOptions = Readonly<{
  uploads: Uploads
  /** Which field may hold a file. */
  imageField: string
  /** Left out: large enough for text. */
  maxJsonBytes?: number
}>

/** A body's fields by name; in the place of a file stands the image. */
export type Fields = Readonly<Record<string, unknown>>

/**
 * Reads JSON or a form, hands it over, and clears away what nobody has taken of it by then.
 * A form's field of the name `a[b]` is the member `b` of `a`.
 */
export async function withBody<T>(
  c: Context,
  { uploads, imageField, maxJsonBytes }: BodyOptions,
  use: (fields: Fields, receive: (bytes: Buffer) => Promise<ReceivedImage>) => Promise<T>,
): Promise<T> {
  const received: ReceivedImage[] = []
  const receive = async (stream: Readable) => {
    const image = new ReceivedImage(await uploads.receive(stream, imageField))
    received.push(image)
    return image
  }
  try {
    const fields = isForm(c)
      ? await readForm(c, { imageField, receive })
      : asFields(await readJson(c, maxJsonBytes))
    return await use(fields, (bytes) => receive(Readable.from([bytes])))
  } finally {
    for (const { image } of received) await uploads.discard(image.uploadId)
  }
}

function asFields(json: unknown): Fields {
  if (typeof json === 'object' && json !== null) return json as Fields
  throw new RefusalError('invalid_request', 'body: must be a JSON object')
}

const limits = {
  fieldNameSize: 100,
  fieldSize: maxFormBytes,
  fields: 50,
  files: 1,
  parts: 51,
  headerPairs: 20,
  headerSize: 8 * 1024,
}

async function readForm(
  c: Context,
  {
    imageField,
    receive,
  }: { imageField: string; receive(stream: Readable): Promise<ReceivedImage> },
): Promise<Fields> {
  const fields = new Map<string, unknown>()
  const files: { stream: Readable; stored: Promise<void> }[] = []
  const stop = new AbortController()
  const refuse = (why: unknown) => stop.abort(why)
  const parser = createParser(c.req.header('Content-Type') ?? '')
  parser.on('error', () => {})

  parser.on('field', (name, value, nameTruncated, valueTruncated) => {
    if (nameTruncated || valueTruncated) refuse(malformed('a field of it is too long'))
    else put(fields, name, value, refuse)
  })
  parser.on('file', (name, stream) => {
    if (name !== imageField || fields.has(name)) {
      const rule = name === imageField ? 'is given twice' : 'is no field that takes a file'
      stream.resume()
      refuse(new RefusalError('invalid_request', `${name}: ${rule}`, { field: name }))
      return
    }
    // Its errors are the body's, whoever reads it: the form is to blame, not the disk.
    const faults = new Set<unknown>()
    stream.on('error', (fault) => faults.add(fault))
    const stored = receive(stream).then(
      (image) => void fields.set(name, image),
      (why: Error) => refuse(faults.has(why) ? malformed(why.message, why) : why),
    )
    files.push({ stream, stored })
  })
  for (const limit of ['fieldsLimit', 'filesLimit', 'partsLimit'] as const) {
    parser.on(limit, () => refuse(malformed('it has too many fields or files')))
  }

  try {
    const { signal } = stop
    await pipeline(bodyOf(c, maxFormBytes), parser, { signal })
    await Promise.all(files.map(({ stored }) => stored))
    signal.throwIfAborted()
  } catch (error) {
    // What follows is its consequence.
    const why: unknown = stop.signal.aborted ? stop.signal.reason : asRefusal(error as Error)
    for (const { stream } of files) stream.destroy(new Error('the body has ended before its time'))
    await Promise.all(files.map(({ stored }) => stored))
    throw why
  }
  return Object.fromEntries(
    [...fields].map(([name, value]) => [
      name,
      value instanceof Map ? Object.fromEntries(value) : value,
    ]),
  )
}

function createParser(type: string): BusboyInstance {
  // The library would wait for ever for the end of a form whose parts nothing tells apart.
  if (!/;\s*boundary=("[^"]+"|[^";\s])/i.test(type)) throw malformed('it has no boundary')
  try {
    return new Busboy({ headers: { 'content-type': type } as BusboyHeaders, limits })
  } catch (cause) {
    throw malformed((cause as Error).message, cause)
  }
}

/** `a[b]` is how the member of an object comes in a form. */
function put(
  fields: Map<string, unknown>,
  name: string,
  value: string,
  refuse: (why: RefusalError) => void,
): void {
  const [, outer, inner] = /^([^[\]]+)\[([^[\]]+)\]$/.exec(name) ?? []
  const members = outer === undefined ? fields : (fields.get(outer) ?? new Map())
  if (!(members instanceof Map) || members.has(inner ?? name)) {
    refuse(new RefusalError('invalid_request', `${name}: is given twice`, { field: name }))
    return
  }
  members.set(inner ?? name, value)
  if (outer !== undefined) fields.set(outer, members)
}

const asRefusal = (error: Error): RefusalError =>
  error instanceof RefusalError ? error : malformed(error.message, error)

const malformed = (why: string, cause?: unknown): RefusalError =>
  new RefusalError('malformed_body', `The form cannot be read: ${why}.`, { cause })
