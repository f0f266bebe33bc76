import { readdirSync, readFileSync } from 'node:fs'
import { extname, join } from 'node:path'
import { Hono } from 'hono'
import * as v from 'valibot'
import { RefusalError } from '../../domain/errors.ts'
import type { ClientEnv } from '../request/client-env.ts'
import { route } from '../request/route.ts'
import { createFixedContent } from '../response/fixed-content.ts'
import { found } from '../response/outcome.ts'

/**
 * Only what this service sends itself, nothing inline, and no text ever taken for markup: prompts
 * and file names come from others.
 */
const pagePolicy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' data: blob:",
  "media-src 'self' blob:",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
  "trusted-types 'none'",
].join('; ')

const types: Readonly<Record<string, string>> = {
  '.css': 'text/css; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.svg': 'image/svg+xml',
}

const notBuilt = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>wan-supervisor</title>
<p>The dashboard has not been built. Run <code>make dashboard</code> and start the service again.</p>
<p>The API does without it: see <a href="docs">its documentation</a>.</p>
`

/** The dashboard as it was built: a page, and files whose names tell their content. */
export function dashboardRoutes(directory: string) {
  const { html, assets } = readBuild(directory)
  const page = createFixedContent(html, {
    'Content-Type': 'text/html; charset=utf-8',
    'Content-Security-Policy': pagePolicy,
    // A new version of the service brings another one.
    'Cache-Control': 'no-cache',
  })

  return new Hono<ClientEnv>()
    .get(
      '/',
      route({
        id: 'getDashboard',
        access: 'anybody',
        tag: 'service',
        summary: 'The dashboard',
        answers: {
          200: { means: 'The page', mediaTypes: ['text/html; charset=utf-8'] },
          304: { means: 'It is the one that you have' },
        },
      }),
      (c) => page(c),
    )

    .get(
      '/assets/:file',
      route({
        id: 'getDashboardPart',
        access: 'anybody',
        tag: 'service',
        summary: 'A script, style or picture of the dashboard',
        params: v.object({ file: v.string() }),
        answers: { 200: { means: 'The file', mediaTypes: ['*/*'] } },
        refusals: ['route_not_found'],
      }),
      (c) => {
        const { file } = c.req.valid('param')
        const content = found(
          assets.get(file),
          () => new RefusalError('route_not_found', `There is nothing at ${c.req.path}.`),
        )
        return c.body(content, 200, {
          'Content-Type': types[extname(file)] ?? 'application/octet-stream',
          'Cache-Control': 'public, max-age=31536000, immutable',
        })
      },
    )
}

/** Read once, so that no page asks for parts of a build that has taken the place of its own. */
function readBuild(directory: string) {
  try {
    const inside = join(directory, 'assets')
    const names = readdirSync(inside)
    return {
      html: readFileSync(join(directory, 'index.html'), 'utf8'),
      assets: new Map(
        names.map((name) => [name, new Uint8Array(readFileSync(join(inside, name)))]),
      ),
    }
  } catch {
    return { html: notBuilt, assets: new Map<string, Uint8Array<ArrayBuffer>>() }
  }
}
