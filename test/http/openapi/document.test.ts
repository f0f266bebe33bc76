import { Validator } from '@seriousme/openapi-schema-validator'
import { describe, expect, it } from 'vitest'
import { createContract, type Document, type Operation } from '../../../bench/fuzz/contract.ts'
import { accessOfTheApp, anApp, routesOfTheApp } from '../../support/routes.ts'

const app = anApp()
const document = (await (await app.request('/openapi.json')).json()) as Document
const contract = createContract(document)
const access = accessOfTheApp()

const operations = Object.entries(document.paths).flatMap(([template, methods]) =>
  Object.entries(methods).map(([method, operation]): [string, Operation] => {
    const path = template.replaceAll(/{(\w+)}/g, ':$1')
    return [`${method.toUpperCase()} ${path}`, operation]
  }),
)

describe('the document', () => {
  it('is OpenAPI 3.1, and of the version of the service', async () => {
    const { valid, errors } = await new Validator().validate(document)
    expect(errors).toBeUndefined()
    expect(valid).toBe(true)
    expect(document.openapi).toMatch(/^3\.1\./)
    expect(document.info.version).toBe('1.2.3')
  })

  it('has every route of the app, and no other', () => {
    expect(operations.map(([route]) => route).toSorted()).toEqual(routesOfTheApp())
  })

  it('has a name of its own for every operation', () => {
    const names = operations.map(([, { operationId }]) => operationId)
    expect(names.toSorted()).toEqual([...new Set(names)].toSorted())
    for (const name of names) expect(name).toMatch(/^[a-z]+[A-Z]\w+$/)
  })

  it.each(operations)('says who may use %s', (route, { security, responses }) => {
    const codesOf = (status: number) => JSON.stringify(responses[status] ?? '')
    const who = access.get(route)
    expect(security).toEqual(
      {
        anybody: [],
        probe: [{}, { token: [] }],
        stranger: [{}, { token: [] }],
        link: [{ token: [] }, { link: [] }],
        client: [{ token: [] }],
        admin: [{ token: [] }],
      }[who ?? 'admin'],
    )
    expect(codesOf(401).includes('unauthorized')).toBe(who !== 'anybody' && who !== 'probe')
    expect(codesOf(403).includes('link_invalid')).toBe(who === 'link')
    if (who === 'admin') expect(codesOf(403)).toContain('forbidden')
  })

  it.each(operations)('names each parameter in the path of %s', (route, { parameters = [] }) => {
    const inPath = parameters.filter((parameter) => parameter.in === 'path')
    const wanted = [...route.matchAll(/:(\w+)/g)].map(([, name]) => name)
    expect(inPath.map(({ name }) => name)).toEqual(wanted)
    for (const { required } of inPath) expect(required).toBe(true)
  })

  it('has examples that are as their schemas say', () => {
    for (const [name, { examples }] of Object.entries(document.components.schemas)) {
      expect(examples, name).not.toHaveLength(0)
      for (const example of examples as unknown[]) {
        expect(contract.schemaFaults(`/components/schemas/${name}`, example)).toEqual([])
      }
    }
    const body = '/paths/~1generate/post/requestBody/content/application~1json'
    const { example } = document.paths['/generate']?.post?.requestBody?.content[
      'application/json'
    ] ?? { example: undefined }
    expect(contract.schemaFaults(`${body}/schema`, example)).toEqual([])
    expect(contract.schemaFaults(`${body}/schema`, undefined)).not.toEqual([])
  })

  it('is asked for again in vain by those who have it', async () => {
    const ETag = (await app.request('/openapi.json')).headers.get('ETag') ?? ''
    const again = await app.request('/openapi.json', { headers: { 'If-None-Match': ETag } })
    expect(again.status).toBe(304)
  })
})

describe('the contract', () => {
  const job = document.components.schemas.Job?.examples as [Record<string, unknown>]
  const answer = (change: Partial<Parameters<typeof contract.faultsOf>[0]>) =>
    contract.faultsOf({
      method: 'GET',
      path: '/status/x',
      status: 200,
      contentType: 'application/json',
      body: JSON.stringify(job[0]),
      ...change,
    })

  it('is kept by an answer that is as documented', () => {
    expect(answer({})).toEqual([])
  })

  it.each([
    ['another status', { status: 418 }],
    ['another type', { contentType: 'text/html' }],
    ['no body', { contentType: '' }],
    ['a field too few', { body: JSON.stringify({ ...job[0], id: undefined }) }],
    ['a field too many', { body: JSON.stringify({ ...job[0], more: 1 }) }],
    ['a word it does not know', { body: JSON.stringify({ ...job[0], status: 'done' }) }],
    [
      'a refusal of another route',
      {
        status: 404,
        contentType: 'application/problem+json',
        body: JSON.stringify({
          type: '',
          title: '',
          status: 404,
          code: 'gpu_not_found',
          detail: '',
        }),
      },
    ],
  ])('is broken by %s', (_, change) => {
    expect(answer(change)).not.toEqual([])
  })
})

describe('the page', () => {
  it('loads what it shows from the service alone, and has no script within', async () => {
    const response = await app.request('/docs')
    expect(response.headers.get('Content-Security-Policy')).toContain("default-src 'none'")
    expect(response.headers.get('Content-Security-Policy')).not.toContain('unsafe')
    const page = await response.text()
    const [scripts, links] = [
      /<script src="(.*?)"[^>]*><\/script>/g,
      /<link [^>]*href="(.*?)">/g,
    ].map((pattern) => [...page.matchAll(pattern)].map(([, path]) => path))
    expect(page.match(/<script/g)).toHaveLength(scripts?.length ?? 0)
    expect(page).not.toMatch(/<style|style=|\son\w+=|https?:/)
    for (const path of [...(scripts ?? []), ...(links ?? [])]) {
      const part = await app.request(`/${path}`)
      expect(part.status, path).toBe(200)
      expect((await part.arrayBuffer()).byteLength).toBeGreaterThan(50)
      const ETag = part.headers.get('ETag') ?? ''
      const again = await app.request(`/${path}`, { headers: { 'If-None-Match': ETag } })
      expect(again.status).toBe(304)
    }
  })

  it.each(['package.json', 'index.html', '..%2fpage.html', 'page.html', '__proto__'])(
    'gives out no other file: %s',
    async (file) => {
      expect((await app.request(`/docs/${file}`)).status).toBe(404)
    },
  )
})
