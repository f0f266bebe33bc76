/** Answers with `Headers`, as Hono's `c.json` makes them. */
import type * as product from '../../../src/http/fast/answer.ts'

export const json: typeof product.json = (body, status, headers) =>
  jsonText(JSON.stringify(body), status, headers ?? {})

export const jsonText: typeof product.jsonText = (text, status, headers) => {
  const all = new Headers({ 'Content-Type': 'application/json', ...headers })
  return new Response(text, { status, headers: all }) as ReturnType<
    typeof product.jsonText<never, never>
  >
}
