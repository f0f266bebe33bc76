import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { Hono } from 'hono'
import { etag } from 'hono/etag'
import * as v from 'valibot'
import { RefusalError } from '../../domain/errors.ts'
import { pageTag } from '../request/browsers.ts'
import type { ClientEnv } from '../request/client-env.ts'
import { route } from '../request/route.ts'
import { found } from '../response/outcome.ts'

/** Only what this service sends itself: nothing inline, and nothing from elsewhere. */
const pagePolicy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' data:",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ')

const own = join(import.meta.dirname, 'docs')
const library = dirname(createRequire(import.meta.url).resolve('swagger-ui-dist/package.json'))

/** The parts of the page; nothing else of these directories is given out. */
const parts = {
  'page.css': [own, 'text/css; charset=utf-8'],
  'start.js': [own, 'text/javascript; charset=utf-8'],
  'swagger-ui.css': [library, 'text/css; charset=utf-8'],
  'swagger-ui-bundle.js': [library, 'text/javascript; charset=utf-8'],
  'favicon-32x32.png': [library, 'image/png'],
} as const

/** Read once, so that no page gets parts of an installation that has taken the place of its own. */
function readPage() {
  const read = (directory: string, name: string) =>
    new Uint8Array(readFileSync(join(directory, name)))
  return {
    page: readFileSync(join(own, 'page.html'), 'utf8'),
    files: new Map(
      Object.entries(parts).map(([name, [directory, type]]) => [
        name,
        { content: read(directory, name), type },
      ]),
    ),
  }
}

/** May be kept, and is asked for again each time: a new version of the service brings others. */
const caching = { 'Cache-Control': 'no-cache' }

/** The document of the API, for programs and for people; open to anybody. */
export function documentRoutes(describe: () => object) {
  let document: string | undefined
  const { page, files } = readPage()

  return new Hono<ClientEnv>()
    .get(
      '/openapi.json',
      route({
        id: 'getDocument',
        access: 'anybody',
        tag: 'service',
        summary: 'This document',
        answers: {
          200: { means: 'OpenAPI 3.1', json: v.record(v.string(), v.unknown()) },
          304: { means: 'It is the one that you have' },
        },
      }),
      etag(),
      (c) => {
        document ??= JSON.stringify(describe())
        return c.body(document, 200, { ...caching, 'Content-Type': 'application/json' })
      },
    )

    .get(
      '/docs',
      route({
        id: 'getDocumentPage',
        access: 'anybody',
        tag: 'service',
        summary: 'This document as a page',
        answers: {
          200: { means: 'The page', mediaTypes: ['text/html; charset=utf-8'] },
          304: { means: 'It is the one that you have' },
        },
      }),
      pageTag(),
      (c) =>
        c.body(page, 200, {
          ...caching,
          'Content-Type': 'text/html; charset=utf-8',
          'Content-Security-Policy': pagePolicy,
        }),
    )

    .get(
      '/docs/:file',
      route({
        id: 'getDocumentPagePart',
        access: 'anybody',
        tag: 'service',
        summary: 'A script, style or picture of that page',
        params: v.object({ file: v.string() }),
        answers: {
          200: { means: 'The file', mediaTypes: ['*/*'] },
          304: { means: 'It is the one that you have' },
        },
        refusals: ['route_not_found'],
      }),
      etag(),
      (c) => {
        const { file } = c.req.valid('param')
        const { content, type } = found(
          files.get(file),
          () => new RefusalError('route_not_found', `There is nothing at ${c.req.path}.`),
        )
        return c.body(content, 200, { ...caching, 'Content-Type': type })
      },
    )
}
