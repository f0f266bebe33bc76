import { createHash } from 'node:crypto'
import type { Context } from 'hono'

export type FixedContent = ReturnType<typeof createFixedContent>

/**
 * Content that is the same for every request until the service stops. All connections share its bytes, and its
 * validator is computed once: a client that requests it often costs no more than its headers.
 */
export function createFixedContent(
  content: string | Uint8Array,
  headers: Readonly<Record<string, string>>,
) {
  const bytes = new Uint8Array(Buffer.from(content as string))
  const ETag = `"${createHash('sha256').update(bytes).digest('base64url').slice(0, 22)}"`
  const { 'Content-Type': type = '', ...kept } = { ...headers, ETag }
  return (c: Context): Response =>
    isKnown(ETag, c.req.header('If-None-Match'))
      ? // A browser replaces the headers of its copy by these, its policy included.
        c.body(null, 304, kept)
      : c.body(bytes, 200, { ...kept, 'Content-Type': type })
}

/** Whether `If-None-Match` names it; proxies that compress make validators weak. */
const isKnown = (ETag: string, condition: string | undefined): boolean =>
  condition !== undefined &&
  (condition.trim() === '*' ||
    condition.split(',').some((one) => one.trim().replace(/^W\//, '') === ETag))
