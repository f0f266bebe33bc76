import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { Hono } from 'hono'
import * as v from 'valibot'
import { RefusalError } from '../../domain/errors.ts'
import type { ClientEnv } from '../request/client-env.ts'
import { route } from '../request/route.ts'
import { createFixedContent, type FixedContent } from '../response/fixed-content.ts'
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

/** May be kept, and is asked for again each time: a new version of the service brings others. */
const caching = { 'Cache-Control': 'no-cache' }

/** Read once, so that no page gets parts of an installation that has taken the place of its own. */
function readPage() {
  return {
    page: createFixedContent(readFileSync(join(own, 'page.html')), {
      ...caching,
      'Content-Type': 'text/html; charset=utf-8',
      'Content-Security-Policy': pagePolicy,
    }),
    files: new Map(
      Object.entries(parts).map(([name, [directory, type]]) => [
        name,
        createFixedContent(readFileSync(join(directory, name)), {
          ...caching,
          'Content-Type': type,
        }),
      ]),
    ),
  }
}

/** The document of the API, for programs and for people; open to anybody. */
export function documentRoutes(describe: () => object) {
  let document: FixedContent | undefined
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
      (c) => {
        document ??= createFixedContent(JSON.stringify(describe()), {
          ...caching,
          'Content-Type': 'application/json',
        })
        return document(c)
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
      (c) => page(c),
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
      (c) => {
        const { file } = c.req.valid('param')
        const part = found(
          files.get(file),
          () => new RefusalError('route_not_found', `There is nothing at ${c.req.path}.`),
        )
        return part(c)
      },
    )
}
