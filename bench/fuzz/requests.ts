/** Requests made of the document: most of them nearly right, some of them rubbish. */
import fc, { type Arbitrary } from 'fast-check'
import type { Document, JsonSchema, Operation, Parameter } from './contract.ts'
import { type Form, formsOf } from './forms.ts'

export type FuzzRequest = Readonly<{
  /** Which operation it is made of; a count of requests is kept for each. */
  about: string
  method: string
  /** `§id3§` and the like stand for what is known by the time it is sent. */
  path: string
  headers: Readonly<Record<string, string>>
  body?: Uint8Array
  as: 'admin' | 'client' | 'nobody'
}>

/** Prompts are short, and generations too, so that many of them come to an end. */
const prompt = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom('a fox', 'a quick fox', 'ein Füchslein 🦊') },
  { weight: 1, arbitrary: fc.constant('[sim:exit-1] a fox in trouble') },
  { weight: 1, arbitrary: fc.string({ unit: 'grapheme', minLength: 1, maxLength: 200 }) },
)

const rubbish = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 40 }),
  fc.constantFrom('', '0', '-1', '1e999', 'null', 'true', '../../etc/passwd', '%', '\0', "';--"),
  fc.constantFrom('__proto__', 'constructor', '{{7*7}}', '9'.repeat(40), 'x'.repeat(3_000)),
)

/** Names for a segment or a parameter that is about something of ours. */
const known = {
  id: fc.nat(40).map((n) => `§id${n}§`),
  filename: fc.nat(40).map((n) => `§file${n}§`),
}

/** What a path may hold as it stands, odd escapes among it. */
const rawSegment = fc
  .array(
    fc.oneof(
      fc.constantFrom('..', '.', '%2e%2e', '%2f', '%5c', '%00', '%ff', '%', '%zz', '~', ';', '+'),
      fc.constantFrom('a', 'mp4', 'link.mp4', 'state.db', 'canary.txt', 'etc', 'passwd', '*'),
      fc.stringMatching(/^[\w!$&'()*+,;=:@.-]{1,12}$/),
    ),
    { maxLength: 5 },
  )
  .map((parts) => parts.join(''))

const encoded = (text: Arbitrary<string>) =>
  text.map((plain) => (plain.startsWith('§') ? plain : encodeURIComponent(plain.toWellFormed())))

type Limits = Readonly<{ type?: string; enum?: unknown[]; minimum?: number; maximum?: number }>

/** A value of a schema of the document. */
function anyOf(schema: JsonSchema, name = ''): Arbitrary<unknown> {
  const { type, enum: words, minimum = 0, maximum = 1_000 } = schema as Limits
  if (name === 'prompt') return prompt
  if (name === 'metadata') return fc.dictionary(fc.string({ maxLength: 70 }), fc.string())
  if (name === 'wait') return fc.constantFrom('0', '0', '1', '61')
  if (name.endsWith('url')) return receiver
  if (name.endsWith('secret')) return fc.constant(`whsec_${'A'.repeat(40)}`)
  if (name === 'seconds') return fc.constantFrom('0.17', 0.17, 5)
  if (name === 'num_frames') return fc.constantFrom(5, '5')
  if (name === 'frames') return fc.constantFrom(5, 9)
  if (name === 'filename' && type === 'string') return fc.oneof(known.filename, fileName)
  if (words) return fc.constantFrom(...words)
  switch (type) {
    case 'object':
      return objectOf(schema)
    case 'array': {
      const items = (schema.items ?? {}) as JsonSchema
      const about = name === 'filenames' ? 'filename' : name
      return fc.array(anyOf(items, about), { minLength: 1, maxLength: 4 })
    }
    case 'integer':
      return fc.oneof(
        fc.integer({ min: minimum, max: Math.min(maximum, 1_000) }),
        fc.constant(maximum),
      )
    case 'number':
      return fc.double({ min: minimum, max: maximum, noNaN: true })
    case 'boolean':
      return fc.boolean()
    default:
      return schema.format === 'uuid' ? fc.oneof(known.id, fc.uuid()) : fc.string({ maxLength: 30 })
  }
}

/** Nobody is there: such addresses are for examples. */
const receiver = fc.constantFrom(
  ...[
    'https://192.0.2.1/hook',
    'https://192.0.2.2/hook',
    'http://127.0.0.1:9/',
    'file:///etc/passwd',
    'https://[::1]/',
    'x',
  ],
)

const fileName = fc.stringMatching(/^[a-z]{1,8}$/).map((name) => `${name}.mp4`)

function objectOf(schema: JsonSchema): Arbitrary<unknown> {
  const properties = (schema.properties ?? {}) as Record<string, JsonSchema>
  const model = Object.fromEntries(
    Object.entries(properties).map(([name, property]) => [name, anyOf(property, name)]),
  )
  // With these, a job is a short one.
  const always = [...((schema.required ?? []) as string[]), 'frames', 'num_frames', 'steps']
  const others = Object.keys(model).filter((name) => !always.includes(name))
  return fc
    .tuple(fc.record(model), fc.subarray(others, { maxLength: Math.min(1, others.length) }))
    .map(([whole, chosen]) =>
      Object.fromEntries(
        Object.entries(whole).filter(([name]) => always.includes(name) || chosen.includes(name)),
      ),
    )
}

/** One field is something else, or is missing, or is one too many. */
const spoilt = (value: Arbitrary<unknown>): Arbitrary<unknown> =>
  fc
    .tuple(value, fc.nat(), rubbish, fc.jsonValue({ maxDepth: 2 }))
    .map(([whole, n, name, other]) => {
      if (typeof whole !== 'object' || whole === null) return other
      const names = [...Object.keys(whole), name]
      const changed = { ...whole, [names[n % names.length] ?? '']: n % 5 === 0 ? undefined : other }
      return changed
    })

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)

/** All manner of bytes that are no body of ours. */
const wrongBody: Arbitrary<Uint8Array> = fc.oneof(
  { weight: 4, arbitrary: fc.json().map(bytes) },
  { weight: 4, arbitrary: fc.uint8Array({ maxLength: 300 }) },
  { weight: 2, arbitrary: fc.string({ unit: 'binary', maxLength: 300 }).map(bytes) },
  { weight: 2, arbitrary: fc.integer({ min: 1, max: 30_000 }).map((n) => bytes('['.repeat(n))) },
  { weight: 1, arbitrary: fc.constant(bytes(`{"prompt":"${'x'.repeat(300_000)}"}`)) },
)

const contentType = fc.oneof(
  { weight: 8, arbitrary: fc.constant('application/json') },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      ...[
        'text/plain',
        'application/xml',
        'multipart/form-data',
        'application/json; charset=latin1',
      ],
      ...['multipart/form-data; boundary=x', 'application/x-www-form-urlencoded', '*', ''],
    ),
  },
)

/** Those that anything here might look at, with values that might be looked at wrongly. */
const headers: Arbitrary<Record<string, string>> = fc.dictionary(
  fc.constantFrom(
    ...['Accept', 'Range', 'If-Range', 'If-Match', 'If-None-Match', 'If-Modified-Since', 'Origin'],
    ...['Sec-Fetch-Site', 'X-Forwarded-For', 'Idempotency-Key', 'Last-Event-ID', 'Host', 'Cookie'],
    ...['Accept-Encoding', 'X-HTTP-Method-Override', 'Expect-CT', 'X-Stainless-Retry-Count'],
  ),
  fc.oneof(
    fc.constantFrom(
      '*',
      '*/*',
      'bytes=0-1',
      'bytes=-5',
      'bytes=9-2',
      'bytes=0-1,5-6',
      '"x"',
      'W/"x"',
    ),
    fc.constantFrom(
      'same-origin',
      'cross-site',
      'null',
      'https://example.org',
      '127.0.0.1, ::1',
      '-1',
    ),
    fc.constantFrom('Wed, 21 Oct 2015 07:28:00 GMT', 'gzip', 'DELETE', '0', '9'.repeat(30), ''),
    fc.stringMatching(/^[ -~\x80-\xff]{0,60}$/),
  ),
  { maxKeys: 2 },
)

/** Requests about each operation in turn of chance, and about none of them. */
export function requestsOf(document: Document): Arbitrary<FuzzRequest> {
  const operations = Object.entries(document.paths).flatMap(([template, methods]) =>
    Object.entries(methods).map(([method, operation]) =>
      about(`${method.toUpperCase()} ${template}`, template, method.toUpperCase(), operation),
    ),
  )
  return fc.oneof(
    { weight: 12, arbitrary: fc.oneof(...operations) },
    { weight: 1, arbitrary: aboutNothing },
  )
}

const methods = fc.constantFrom(
  ...['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'PROPFIND', 'QUERY'],
)
const as = fc.oneof(
  { weight: 8, arbitrary: fc.constant('admin' as const) },
  { weight: 3, arbitrary: fc.constant('client' as const) },
  { weight: 1, arbitrary: fc.constant('nobody' as const) },
)

function about(
  name: string,
  template: string,
  method: string,
  { parameters = [], requestBody }: Operation,
): Arbitrary<FuzzRequest> {
  const canHaveBody = !['GET', 'HEAD'].includes(method)
  return fc
    .record({
      method: fc.oneof(
        { weight: 20, arbitrary: fc.constant(method) },
        { weight: 1, arbitrary: methods },
      ),
      path: pathOf(template, parameters),
      query: queryOf(parameters),
      headers,
      given: canHaveBody ? bodyFor(requestBody?.content ?? {}) : fc.constant(undefined),
      as,
    })
    .map(({ path, query, given, ...rest }) => ({
      ...rest,
      about: name,
      path: query ? `${path}?${query}` : path,
      headers: given ? { ...rest.headers, 'Content-Type': given.contentType } : rest.headers,
      ...(given && { body: given.body }),
    }))
}

/** What an operation takes, or nearly; a form where it takes one. */
function bodyFor(
  content: NonNullable<Operation['requestBody']>['content'],
): Arbitrary<Form | undefined> {
  const typed = (body: Arbitrary<Uint8Array>) => fc.record({ contentType, body })
  const json = (value: Arbitrary<unknown>) =>
    typed(value.map((one) => bytes(JSON.stringify(one) ?? '')))
  const schema = content['application/json']?.schema
  if (!schema) return fc.option(typed(wrongBody), { freq: 8, nil: undefined })
  const right = anyOf(schema)
  const form = content['multipart/form-data']?.schema
  const fileField = Object.keys(form?.properties ?? {}).find(
    (name) => !Object.hasOwn(schema.properties ?? {}, name),
  )
  const forms = fc.oneof(right, spoilt(right))
  return fc.oneof(
    { weight: 9, arbitrary: json(right) },
    { weight: 4, arbitrary: json(spoilt(right)) },
    { weight: 3, arbitrary: typed(wrongBody) },
    ...(fileField === undefined ? [] : [{ weight: 12, arbitrary: formsOf(forms, fileField) }]),
  )
}

function pathOf(template: string, parameters: readonly Parameter[]): Arbitrary<string> {
  const segments = template.split('/').map((segment) => {
    const name = /^{(\w+)}$/.exec(segment)?.[1]
    if (name === undefined) return fc.constant(segment)
    const schema = parameters.find((one) => one.in === 'path' && one.name === name)?.schema ?? {}
    return fc.oneof(
      { weight: 6, arbitrary: encoded(anyOf(schema, name).map(String)) },
      {
        weight: 1,
        arbitrary: known.id.map((id) => (template.startsWith('/v1') ? `video_${id}` : id)),
      },
      { weight: 1, arbitrary: encoded(rubbish) },
      { weight: 1, arbitrary: rawSegment },
    )
  })
  return fc.tuple(...segments).map((parts) => parts.join('/'))
}

function queryOf(parameters: readonly Parameter[]): Arbitrary<string> {
  const own = parameters
    .filter((parameter) => parameter.in === 'query')
    .map(({ name, required, schema }) => {
      const value = fc.oneof(
        { weight: 6, arbitrary: encoded(anyOf(schema, name).map(String)) },
        { weight: 1, arbitrary: encoded(rubbish) },
        { weight: 1, arbitrary: rawSegment },
      )
      const pair = value.map((text) => `${name}=${text}`)
      return fc.option(pair, { freq: required ? 15 : 1, nil: undefined })
    })
  const other = fc
    .tuple(encoded(rubbish), encoded(rubbish))
    .map(([name, value]) => `${name}=${value}`)
  return fc
    .tuple(
      ...own,
      fc.option(other, { freq: 1, nil: undefined }).filter(() => true),
    )
    .map((pairs) =>
      pairs.filter((pair, index) => pair !== undefined && (index < own.length || pair.length < 40)),
    )
    .map((pairs) => pairs.join('&'))
}

const aboutNothing: Arbitrary<FuzzRequest> = fc
  .record({
    method: methods,
    path: fc
      .array(rawSegment, { minLength: 1, maxLength: 4 })
      .map((parts) => `/${parts.join('/')}`),
    headers,
    as,
  })
  .map((request) => ({ ...request, about: 'nothing' }))
