import { once } from 'node:events'
import { fstat, type ReadStream, type Stats } from 'node:fs'
import { lstat } from 'node:fs/promises'
import type { IncomingMessage } from 'node:http'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { promisify } from 'node:util'
import send from '@fastify/send'
import type { Context } from 'hono'
import type { StatusCode } from 'hono/utils/http-status'
import { RefusalError } from '../../domain/errors.ts'

/** On its way through Node's streams, each piece costs the more than reading it. */
const readAtOnce = 512 * 1024

/** How a file is asked for. */
export type Asked = Readonly<{ method: string; headers: Record<string, string> }>

/** Told that a file is being read; gives back whom to tell that this is over. */
export type Downloads = { begin(filename: string): () => void }

export type SentFile = Readonly<{
  root: string
  filename: string
  caching: Readonly<Record<string, string>>
  /** Absent: nobody minds. */
  downloads?: Downloads
  /** Rejects for a file that must not be sent. */
  check?: () => Promise<void>
  /** Absent: as it is asked for by the request. */
  asked?: Asked
}>

/** Once its sending has begun, a file is sent to its end, whatever becomes of its name. */
export async function sendFile(c: Context, file: SentFile): Promise<Response> {
  const end = file.downloads?.begin(file.filename) ?? (() => {})
  try {
    const { response, stream } = await open(c, file)
    if (stream) stream.once('close', end)
    else end()
    return response
  } catch (error) {
    end()
    throw error
  }
}

/** Ranges, validators and HEAD are the library's. */
async function open(
  c: Context,
  {
    root,
    filename,
    caching,
    check,
    asked = { method: c.req.method, headers: c.req.header() },
  }: SentFile,
): Promise<{ response: Response; stream?: Readable }> {
  const found = await lstat(join(root, filename)).catch(() => undefined)
  await check?.()
  // A link out of the directory above all is not served.
  if (!found?.isFile()) throw noVideo(filename)
  const request = { ...asked, headers: withRangeIn(found.size, withWeakIfRange(asked.headers)) }
  // What it looks at is method and headers, of which a request of Node is only one that has them.
  const { statusCode, headers, stream } = await send(
    request as unknown as IncomingMessage,
    encodeURIComponent(filename),
    { root, dotfiles: 'deny', index: false, cacheControl: false, highWaterMark: readAtOnce },
  )
  if (statusCode === 416) throw noSuchRange(c, headers['Content-Range'])
  if (statusCode === 412) {
    throw new RefusalError('precondition_failed', 'The file is not the one the request is about.')
  }
  if (statusCode >= 400) throw noVideo(filename)

  const { ETag, ...rest } = headers
  const isEmpty = asked.method === 'HEAD' || statusCode === 304
  // Gone or replaced since it was looked at: that can still be said in an answer of its own.
  if (!isEmpty && !isSame(found, await openedFile(stream as ReadStream))) {
    stream.destroy()
    throw noVideo(filename)
  }
  const body = isEmpty ? null : (Readable.toWeb(stream) as ReadableStream)
  const response = c.newResponse(body, {
    status: statusCode as StatusCode,
    headers: {
      ...rest,
      ...(ETag && { ETag: ETag.replace(/^W\//, '') }),
      ...caching,
      // Pages may show a video that they have a link to, and so may the browser by itself.
      'Cross-Origin-Resource-Policy': 'cross-origin',
      'Content-Security-Policy':
        "default-src 'none'; media-src 'self'; img-src 'self'; style-src 'unsafe-inline'",
      'Content-Disposition': `inline; filename*=UTF-8''${encodeURIComponent(filename)}`,
    },
  })
  return isEmpty ? { response } : { response, stream }
}

/** Not every network file system keeps the number of a file between two looks. */
const isSame = (a: Stats, b: Stats | undefined): boolean =>
  a.ino === b?.ino || (a.size === b?.size && a.mtimeMs === b.mtimeMs)

/** The file behind an open stream. It can be read to its end though it is removed. */
async function openedFile(stream: ReadStream & { fd?: number }): Promise<Stats | undefined> {
  try {
    if (stream.pending) await once(stream, 'open')
    return stream.fd === undefined ? undefined : await statOf(stream.fd)
  } catch {
    return undefined
  }
}

const statOf = promisify(fstat)

/**
 * The library's validator is a weak one, but a published file never changes: we give it out as a
 * strong one, so that clients may resume downloads with it, and turn it back for the library.
 */
function withWeakIfRange(headers: Record<string, string>): Record<string, string> {
  const ifRange = headers['if-range']
  if (!ifRange?.includes('"')) return headers
  return { ...headers, 'if-range': ifRange.startsWith('W/') ? '"weak"' : `W/${ifRange}` }
}

/** An end that is longer than the whole is the whole (RFC 9110, 14.1.2); the library refuses it. */
export function withRangeIn(
  bytes: number,
  headers: Record<string, string>,
): Record<string, string> {
  const end = /^ *bytes= *- *(\d+) *$/i.exec(headers.range ?? '')?.[1]
  return Number(end) > bytes ? { ...headers, range: 'bytes=0-' } : headers
}

export function noSuchRange(c: Context, contentRange: string | undefined): RefusalError {
  c.header('Content-Range', contentRange)
  return new RefusalError('range_not_satisfiable', 'The range begins behind the end of the file.')
}

export const noVideo = (filename: string) =>
  new RefusalError('video_not_found', `There is no video named "${filename}".`, {
    field: 'filename',
  })
