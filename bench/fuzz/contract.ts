/** Holds what the service answers against what its document promises. */
import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js'
import addFormats from 'ajv-formats'

export type Operation = Readonly<{
  operationId: string
  security: readonly Readonly<Record<string, unknown>>[]
  parameters?: readonly Parameter[]
  requestBody?: Readonly<{ required: boolean; content: Content }>
  responses: Readonly<Record<string, Readonly<{ content?: Content }>>>
}>

export type Parameter = Readonly<{
  name: string
  in: 'path' | 'query' | 'header'
  required: boolean
  schema: JsonSchema
}>

type Content = Readonly<Record<string, Readonly<{ schema?: JsonSchema; example?: unknown }>>>

export type JsonSchema = Readonly<Record<string, unknown>>

export type Document = Readonly<{
  openapi: string
  info: Readonly<{ version: string }>
  paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>
  components: Readonly<{ schemas: Readonly<Record<string, JsonSchema>> }>
}>

export type Exchange = Readonly<{
  method: string
  /** As it was sent, with its query. */
  path: string
  status: number
  /** Empty: there is no body. */
  contentType: string
  body: string
}>

export type Contract = ReturnType<typeof createContract>

/** What anything may answer that the document has no route for. */
const beyondRoutes: Readonly<Record<number, readonly string[]>> = {
  400: ['malformed_request'],
  401: ['unauthorized', 'invalid_api_key'],
  403: ['origin_not_allowed', 'host_not_allowed'],
  404: ['route_not_found'],
  405: ['method_not_allowed'],
  413: ['body_too_large'],
}

export function createContract(document: Document) {
  const ajv = new Ajv2020({ strict: false, allErrors: true, schemas: [closed(document)] })
  addFormats.default(ajv)
  const validators = new Map<string, ValidateFunction>()
  const routes = Object.entries(document.paths).map(([template, operations]) => ({
    template,
    pattern: new RegExp(`^${template.replaceAll('.', '\\.').replaceAll(/{\w+}/g, '[^/]+')}$`),
    operations,
  }))
  // What has no parameter goes first, as in the app.
  const byGenerality = routes.toSorted(
    (a, b) => a.template.split('{').length - b.template.split('{').length,
  )

  return { schemaFaults, faultsOf }

  /** Why a value is not as the schema says that stands at this JSON pointer of the document. */
  function schemaFaults(pointer: string, value: unknown): string[] {
    const validate = validators.get(pointer) ?? ajv.compile({ $ref: `document#${pointer}` })
    // To compile it takes longer than the exchange that it is for.
    validators.set(pointer, validate)
    if (validate(value)) return []
    return (validate.errors ?? []).map(
      ({ instancePath, message, params }) =>
        `${instancePath || 'body'} ${message} ${JSON.stringify(params)}`,
    )
  }

  /** What is not as the document says; empty: all is. */
  function faultsOf(exchange: Exchange): string[] {
    const { method, status } = exchange
    // As the service sees it, with `..` and `%2e` taken out.
    const path = URL.parse(`http://x${exchange.path}`)?.pathname ?? exchange.path
    const names = [method, ...(method === 'HEAD' ? ['GET'] : [])].map((word) => word.toLowerCase())
    const [found] = byGenerality.flatMap(({ template, pattern, operations }) => {
      const name = pattern.test(path) && names.find((word) => operations[word])
      return name ? [{ template, name, operation: operations[name] }] : []
    })
    const response = found?.operation?.responses[status]
    const isUnreadable = status === 400 && exchange.body.includes('"code":"malformed_request"')
    if (!found || !response || isUnreadable) return faultsBeyondRoutes(exchange)
    if (method === 'HEAD') return exchange.body === '' ? [] : ['there is a body']

    const content = response.content ?? {}
    const [type = ''] = exchange.contentType.split(';')
    if (type === '') return Object.keys(content).length === 0 ? [] : ['there is no body']
    const media = Object.keys(content).find((one) => one === '*/*' || one.split(';', 1)[0] === type)
    if (media === undefined) return [`${type} is not among ${Object.keys(content)}`]
    if (!content[media]?.schema) return []
    const steps = [
      'paths',
      found.template,
      found.name,
      'responses',
      String(status),
      'content',
      media,
    ]
    return schemaFaults(`${pointerOf(steps)}/schema`, JSON.parse(exchange.body))
  }

  function faultsBeyondRoutes({ method, path, status, contentType, body }: Exchange): string[] {
    const codes = beyondRoutes[status]
    if (!codes) return [`the status ${status} is not in the document`]
    if (method === 'HEAD') return []
    // Whose API it was about is not known of what cannot be read.
    const isOpenAi = /^\/v1(\/|$|\?)/.test(path)
    const type = isOpenAi && status !== 400 ? 'application/json' : 'application/problem+json'
    if (contentType !== type && (!isOpenAi || status !== 400))
      return [`${contentType} is not ${type}`]
    const answer = JSON.parse(body) as { code?: string; error?: { code: string } }
    const code = answer.error?.code ?? answer.code ?? ''
    if (!codes.includes(code)) return [`${code} is not in the document`]
    return schemaFaults(`/components/schemas/${answer.error ? 'OpenAiError' : 'Problem'}`, answer)
  }
}

const pointerOf = (steps: readonly string[]): string =>
  steps
    .map((step) => `/${encodeURIComponent(step.replaceAll('~', '~0').replaceAll('/', '~1'))}`)
    .join('')

/** The document lets answers grow; the service of the same version has no field beyond it. */
function closed(document: Document): JsonSchema & { $id: string } {
  return { $id: 'document', ...(close(document) as JsonSchema) }
}

function close(part: unknown): unknown {
  if (Array.isArray(part)) return part.map(close)
  if (typeof part !== 'object' || part === null) return part
  const entries = Object.entries(part).map(([name, value]) => [name, close(value)])
  const isOpen = 'properties' in part && !('$ref' in part) && !('additionalProperties' in part)
  return Object.fromEntries(isOpen ? [...entries, ['additionalProperties', false]] : entries)
}
