import { Hono } from 'hono'
import { describe, expect, it } from 'vitest'
import { createFixedContent } from '../../../src/http/response/fixed-content.ts'
import { anApp } from '../../support/routes.ts'

const policy = { 'Content-Security-Policy': "default-src 'none'", 'Cache-Control': 'no-cache' }
const content = createFixedContent('ä page', { ...policy, 'Content-Type': 'text/html' })
const app = new Hono().get('/', (c) => content(c))
const ask = (condition?: string) =>
  app.request('/', { headers: condition === undefined ? {} : { 'If-None-Match': condition } })
const ETag = (await ask()).headers.get('ETag') ?? ''

describe('fixed content', () => {
  it('is sent with its validator', async () => {
    const response = await ask()
    expect(ETag).toMatch(/^"[\w-]{22}"$/)
    expect(Object.fromEntries(response.headers)).toMatchObject({
      'content-type': 'text/html',
      'cache-control': 'no-cache',
    })
    expect(await response.text()).toBe('ä page')
  })

  it.each(['"other"', 'W/"other", "another"', '', ETag.slice(1, -1)])(
    'is sent to a client that has only %s',
    async (condition) => {
      expect((await ask(condition)).status).toBe(200)
    },
  )

  it.each([ETag, `W/${ETag}`, `"other", ${ETag}`, '*'])(
    'is not sent again to a client that has %s',
    async (condition) => {
      const response = await ask(condition)
      expect(response.status).toBe(304)
      expect(await response.text()).toBe('')
      expect(response.headers.get('ETag')).toBe(ETag)
      expect(response.headers.get('Content-Security-Policy')).toBe("default-src 'none'")
    },
  )

  it('has another validator when it is other content', async () => {
    const other = createFixedContent('another page', {})
    const response = await new Hono().get('/', (c) => other(c)).request('/')
    expect(response.headers.get('ETag')).not.toBe(ETag)
  })
})

describe('the documents of the service', () => {
  it.each(['/', '/openapi.json', '/docs', '/docs/page.css', '/docs/swagger-ui-bundle.js'])(
    'are fixed content: %s',
    async (path) => {
      const app = anApp()
      const first = await app.request(path)
      const condition = { 'If-None-Match': first.headers.get('ETag') ?? 'none' }
      expect((await app.request(path, { headers: condition })).status).toBe(304)
    },
  )
})
