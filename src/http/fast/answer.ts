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

/**
 * As `json`, for long answers: a text that waits for a slow client is in memory twice, as it is and as its bytes, and
 * the socket counts its characters.
 */
export const jsonBytes = <Body, Status extends ContentfulStatusCode>(
  body: Body,
  status: Status,
): JsonAnswer<Body, Status> =>
  new Response(new Uint8Array(Buffer.from(JSON.stringify(body))), {
    status,
    headers: { 'Content-Type': 'application/json' },
  }) as JsonAnswer<Body, Status>

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
