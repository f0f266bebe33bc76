import { setImmediate as nextTurn } from 'node:timers/promises'
import type { TypedResponse } from 'hono'
import type { ContentfulStatusCode } from 'hono/utils/http-status'
import type { JSONParsed } from 'hono/utils/types'

/** What typed clients know of it. */
type JsonAnswer<Body, Status extends ContentfulStatusCode> = Response &
  TypedResponse<JSONParsed<Body>, Status, 'json'>

/**
 * As `c.json`, with headers that go out as they are: the `Headers` that Hono makes of more than one
 * takes as long as the rest of a short answer.
 */
export const json = <Body, Status extends ContentfulStatusCode>(
  body: Body,
  status: Status,
  headers: Readonly<Record<string, string>> = {},
): JsonAnswer<Body, Status> => jsonText<Body, Status>(JSON.stringify(body), status, headers)

/** As long as others wait while a long answer is written. */
const maxPieceMs = 4

/**
 * As `json`, for a list: others get their turn in between. It is bytes, because a text that waits for a slow client is in
 * memory twice, as it is and as its bytes, and the socket counts its characters.
 */
export async function jsonBytes<Body extends object, Status extends ContentfulStatusCode>(
  body: Body,
  status: Status,
): Promise<JsonAnswer<Body, Status>> {
  const pieces: Buffer[] = []
  let begun = performance.now()
  for (const text of textsOf(body)) {
    pieces.push(Buffer.from(text))
    if (performance.now() - begun < maxPieceMs) continue
    await nextTurn()
    begun = performance.now()
  }
  return new Response(Buffer.concat(pieces), {
    status,
    headers: { 'Content-Type': 'application/json' },
  }) as JsonAnswer<Body, Status>
}

/** `JSON.stringify`, with each item of its lists as a text of its own. */
function* textsOf(body: object): Generator<string> {
  let isFirst = true
  for (const [key, value] of Object.entries(body)) {
    if (value === undefined) continue
    yield `${isFirst ? '{' : ','}${JSON.stringify(key)}:`
    isFirst = false
    if (!Array.isArray(value)) {
      yield JSON.stringify(value)
      continue
    }
    yield '['
    for (const [index, item] of value.entries())
      yield `${index > 0 ? ',' : ''}${JSON.stringify(item)}`
    yield ']'
  }
  yield isFirst ? '{}' : '}'
}

/** A body that is JSON already, and what its answer says beside it. */
export type Written = Readonly<{ text: string; headers: Record<string, string> }>

export const jsonText = <Body, Status extends ContentfulStatusCode>(
  text: string,
  status: Status,
  headers: Readonly<Record<string, string>>,
): JsonAnswer<Body, Status> =>
  new Response(text, {
    status,
    headers: { 'Content-Type': 'application/json', ...headers },
  }) as JsonAnswer<Body, Status>
