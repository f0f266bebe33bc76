import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { anApp } from '../../support/routes.ts'
import { aDataDirectory } from '../../support/service.ts'

function aBuild(): string {
  const directory = aDataDirectory()
  mkdirSync(join(directory, 'assets'))
  writeFileSync(join(directory, 'index.html'), '<!doctype html><title>ours</title>')
  writeFileSync(join(directory, 'assets', 'index-4f2a.js'), 'globalThis.started = true')
  writeFileSync(join(directory, 'assets', 'index-9c1b.css'), 'body { margin: 0 }')
  return directory
}

describe('the page at /', () => {
  it('may run its own scripts alone, and make no markup of any text', async () => {
    const response = await anApp({ dashboardDir: aBuild() }).request('/')
    expect(response.status).toBe(200)
    expect(response.headers.get('Content-Type')).toBe('text/html; charset=utf-8')
    const policy = response.headers.get('Content-Security-Policy')?.split('; ')
    expect(policy).toContain("default-src 'none'")
    expect(policy).toContain("script-src 'self'")
    expect(policy).toContain("style-src 'self'")
    expect(policy).toContain("require-trusted-types-for 'script'")
    expect(policy?.join()).not.toContain('unsafe')
  })

  it('is asked for again each time, and sent again only when it is another', async () => {
    const routes = anApp({ dashboardDir: aBuild() })
    const first = await routes.request('/')
    expect(first.headers.get('Cache-Control')).toBe('no-cache')
    const headers = { 'If-None-Match': String(first.headers.get('ETag')) }
    const again = await routes.request('/', { headers })
    expect(again.status).toBe(304)
    // What a 304 says holds for the page as it is kept: it must not forbid its scripts.
    const policy = 'Content-Security-Policy'
    expect(again.headers.get(policy)).toBe(first.headers.get(policy))
  })

  it('has parts that never change and are kept', async () => {
    const routes = anApp({ dashboardDir: aBuild() })
    for (const [file, type] of [
      ['index-4f2a.js', 'text/javascript; charset=utf-8'],
      ['index-9c1b.css', 'text/css; charset=utf-8'],
    ]) {
      const response = await routes.request(`/assets/${file}`)
      expect(response.status).toBe(200)
      expect(response.headers.get('Content-Type')).toBe(type)
      expect(response.headers.get('Cache-Control')).toBe('public, max-age=31536000, immutable')
    }
  })

  it.each(['other.js', '..%2findex.html'])('has no part %s', async (file) => {
    const response = await anApp({ dashboardDir: aBuild() }).request(`/assets/${file}`)
    expect(response.status).toBe(404)
    expect(await response.json()).toMatchObject({ code: 'route_not_found' })
  })

  it('says what to do where it has not been built', async () => {
    const response = await anApp({ dashboardDir: join(aDataDirectory(), 'none') }).request('/')
    expect(response.status).toBe(200)
    expect(await response.text()).toContain('make dashboard')
  })
})
