import { once } from 'node:events'
import type { ReadStream } from 'node:fs'
import { lstat } from 'node:fs/promises'
import type { IncomingMessage } from 'node:http'
import { basename, dirname } from 'node:path'
import { Readable } from 'node:stream'
import send from '@fastify/send'
import type { Context } from 'hono'
import { noSuchRange, withRangeIn } from './send-file.ts'

const headers = { 'Content-Type': 'text/plain; charset=utf-8', 'Cache-Control': 'no-store' }

/** A log as far as it has come, or a part of it. It grows, so that no validator would hold. */
export async function sendLog(c: Context, path: string): Promise<Response> {
  // No log yet is an empty log, the job has not begun; and nothing has no parts.
  const bytes = await sizeOf(path)
  if (bytes === 0) return c.body('', 200, headers)
  const { range, 'if-range': ifRange } = c.req.header()
  const { method } = c.req
  const isHead = method === 'HEAD'
  // Whatever a condition names, it is not what we have: then all of it is sent.
  const part = range && ifRange === undefined ? withRangeIn(bytes, { range }) : {}
  const asked = { method, headers: part }
  const sent = await send(asked as unknown as IncomingMessage, encodeURIComponent(basename(path)), {
    root: dirname(path),
    ...{ dotfiles: 'deny', index: false, cacheControl: false, etag: false, lastModified: false },
  })
  if (sent.statusCode === 416) throw noSuchRange(c, sent.headers['Content-Range'])
  const stream = sent.stream as ReadStream
  const isThere = sent.statusCode < 400 && (isHead || (await opens(stream)))
  if (!isThere) return c.body('', 200, headers)
  return c.newResponse(isHead ? null : (Readable.toWeb(stream) as ReadableStream), {
    status: sent.statusCode as 200 | 206,
    headers: { ...sent.headers, ...headers },
  })
}

/** What was put there in the place of ours, a link above all, is no log. */
const sizeOf = (path: string): Promise<number> =>
  lstat(path).then(
    (found) => (found.isFile() ? found.size : 0),
    (error: { code?: string }) => {
      if (error.code === 'ENOENT') return 0
      throw error
    },
  )

/** It may have gone since it was looked at. */
const opens = (stream: ReadStream): Promise<boolean> =>
  once(stream, 'open').then(
    () => true,
    () => false,
  )
