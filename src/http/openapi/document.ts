/** The API in the words of OpenAPI 3.1, from the descriptions that stand at its routes. */
import { type ConversionConfig, toJsonSchema } from '@valibot/to-json-schema'
import type { RouterRoute } from 'hono/types'
import type { GenericSchema } from 'valibot'
import type { RefusalCode } from '../../domain/errors.ts'
import {
  type Access,
  type Answer,
  descriptionOf,
  type RouteDescription,
  type Tag,
} from '../request/route.ts'
import { ErrorJson, envelopeStatusOf } from '../response/envelope.ts'
import { ProblemJson, problems, quotaHeadersSay } from '../response/problem.ts'
import { VideoJson } from '../v1/video-view.ts'
import { AttemptJson } from '../views/attempt-view.ts'
import { GpuJson } from '../views/gpu-view.ts'
import { AcceptedJson, JobDetailJson, JobJson } from '../views/job-view.ts'
import { NodeJson } from '../views/node-view.ts'
import { ReloadedTaskJson, TaskJson } from '../views/task-view.ts'
import { examples } from './examples.ts'

export type DocumentOptions = Readonly<{
  routes: readonly RouterRoute[]
  /** Of the service, and so of its API. */
  version: string
  /** Where the API begins for those who ask; empty: where the document is. */
  baseUrl: string
}>

type Json = Readonly<Record<string, unknown>>

export function createDocument({ routes, version, baseUrl }: DocumentOptions): Json {
  const paths: Record<string, Record<string, Json>> = {}
  for (const { method, path, handler } of routes) {
    const description = descriptionOf(handler)
    if (!description) continue
    const template = path.replaceAll(/:(\w+)/g, '{$1}')
    const operation = operationOf(method, description)
    paths[template] = { ...paths[template], [method.toLowerCase()]: operation }
  }
  return {
    openapi: '3.1.1',
    info: { title: 'wan-supervisor', version, description: about, license },
    servers: [{ url: baseUrl || '/' }],
    tags: Object.entries(tags).map(([name, description]) => ({ name, description })),
    paths,
    components: {
      schemas: {
        ...Object.fromEntries(
          Object.entries(named).map(([name, schema]) => [
            name,
            {
              ...schemaOf(schema, { inFull: true }),
              examples: [examples[name as keyof typeof examples]],
            },
          ]),
        ),
      },
      securitySchemes,
    },
  }
}

const about = `Queues Wan2.2 video jobs over the GPUs of one machine, or of several machines that share one queue.

Times are ISO 8601 in UTC; \`null\` is what is not known or does not apply. Answers may get new fields at any time.

Errors are \`application/problem+json\` (RFC 9457), under \`/v1\` in OpenAI's form, and their \`code\` is stable. Beyond what is listed at each route:
a foreign \`Host\` is \`host_not_allowed\` (403, only without tokens), an address that cannot be read is \`malformed_request\` (400), what does not exist \`route_not_found\` (404), a method
that a route does not know \`method_not_allowed\` (405, with \`Allow\`). \`HEAD\` does where \`GET\` does. In a cluster, a node that does not lead
forwards requests, and may respond with \`no_leader\` or \`leader_lost\` (503).

Where the service has no tokens (\`API_TOKENS\`), nobody is asked for one, and everybody is an admin.`

const license = { name: 'Apache-2.0', identifier: 'Apache-2.0' }

const tags: Readonly<Record<Tag, string>> = {
  jobs: 'From a prompt to its video',
  videos: 'What has been made',
  openai: 'The same for the clients of OpenAI’s Videos API',
  webhooks: 'Who is told of the ends of jobs, and how each telling went',
  gpus: 'What it is made on: for admins',
  nodes: 'Machines that share the queue: for admins',
  service: 'How the service itself does',
}

/** Schemas that the document names and refers to. */
const named: Readonly<Record<keyof typeof examples, GenericSchema>> = {
  AcceptedJob: AcceptedJson,
  Job: JobJson,
  JobDetail: JobDetailJson,
  Attempt: AttemptJson,
  Gpu: GpuJson,
  Node: NodeJson,
  Task: TaskJson,
  ReloadedTask: ReloadedTaskJson,
  Problem: ProblemJson,
  OpenAiVideo: VideoJson,
  OpenAiError: ErrorJson,
}

const securitySchemes = {
  token: { type: 'http', scheme: 'bearer', description: 'One of `API_TOKENS`' },
  link: {
    type: 'apiKey',
    in: 'query',
    name: 'signature',
    description: 'Of a link that was given out as `file_url`; with its `job` and `expires`',
  },
}

const security: Readonly<Record<Access, readonly Json[]>> = {
  anybody: [],
  probe: [{}, { token: [] }],
  stranger: [{}, { token: [] }],
  link: [{ token: [] }, { link: [] }],
  client: [{ token: [] }],
  admin: [{ token: [] }],
}

function operationOf(method: string, description: RouteDescription): Json {
  const { id, access, tag, summary, details, params, query, headers = {}, example } = description
  const body = description.json ?? description.body
  const text = [details, access === 'admin' ? 'For admins.' : undefined]
    .filter(Boolean)
    .join('\n\n')
  const parameters = [
    ...parametersOf('path', params),
    ...parametersOf('query', query),
    ...Object.entries(headers).map(([name, means]) => ({
      name,
      in: 'header',
      required: false,
      description: means,
      schema: { type: 'string' },
    })),
  ]
  return {
    operationId: id,
    tags: [tag],
    summary,
    ...(text && { description: text }),
    security: security[access],
    ...(parameters.length > 0 && { parameters }),
    ...(body && { requestBody: requestBodyOf(body, { example, form: description.form }) }),
    responses: responsesOf(method, description, refusalsOf(method, description)),
  }
}

const conversion = (definitions: Readonly<Record<string, GenericSchema>>): ConversionConfig => ({
  target: 'draft-2020-12',
  typeMode: 'input',
  // What cannot be said in JSON Schema is said in descriptions.
  errorMode: 'ignore',
  definitions,
  overrideRef: ({ referenceId }) => `#/components/schemas/${referenceId}`,
})

type JsonSchema = ReturnType<typeof toJsonSchema>

/** `inFull`: not by its name, if it has one; those within it are. */
function schemaOf(schema: GenericSchema, { inFull = false } = {}): JsonSchema {
  const others = Object.entries(named).filter(([, one]) => !inFull || one !== schema)
  const definitions = Object.fromEntries(others)
  const { $schema: _, $defs: __, ...own } = toJsonSchema(schema, conversion(definitions))
  return own
}

function parametersOf(place: 'path' | 'query', schema: GenericSchema | undefined): Json[] {
  if (!schema) return []
  const { properties = {}, required = [] } = schemaOf(schema)
  return Object.entries(properties).map(([name, property]) => {
    const { description, ...own } = property as JsonSchema
    return {
      name,
      in: place,
      required: required.includes(name),
      ...(description !== undefined && { description }),
      ...(own.type === 'array' && { style: 'form', explode: false }),
      schema: withMeantDefault(own),
    }
  })
}

/** In an address all is text, also what is left out; the document says what it means. */
function withMeantDefault(schema: JsonSchema): JsonSchema {
  const { type, default: given } = schema
  if (typeof given !== 'string' || type === 'string') return schema
  return { ...schema, default: JSON.parse(given) as JsonSchema['default'] }
}

function requestBodyOf(
  body: GenericSchema,
  { example, form }: { example: object | undefined; form: boolean | undefined },
): Json {
  const { default: _, ...schema } = schemaOf(body)
  const required = 'type' in body && body.type !== 'optional'
  const all = Object.entries(schema.properties ?? {})
  const texts = all.filter(([, property]) => !isFile(property as JsonSchema))
  return {
    required,
    content: {
      'application/json': {
        schema: { ...schema, properties: Object.fromEntries(texts) },
        ...(example && { example }),
      },
      ...(form && { 'multipart/form-data': { schema } }),
    },
  }
}

/** JSON can hold none. */
const isFile = ({ contentMediaType }: JsonSchema): boolean => contentMediaType !== undefined

/** By status; what a service says that is not ready may also be a problem. */
function responsesOf(
  method: string,
  { answers, tag }: RouteDescription,
  refusals: readonly RefusalCode[],
): Json {
  const isOpenAi = tag === 'openai'
  const statusOf = isOpenAi ? envelopeStatusOf : (code: RefusalCode) => problems[code].status
  const problemsByStatus = Map.groupBy(refusals, statusOf)
  const statuses = new Set([...Object.keys(answers).map(Number), ...problemsByStatus.keys()])
  const responses = [...statuses].map((status) => {
    const answer = answers[status]
    const codes = problemsByStatus.get(status as ReturnType<typeof statusOf>) ?? []
    const meanings = codes.map((code) => `\`${code}\`: ${problems[code].title}`)
    const headers = { ...answer?.headers, ...headersOfProblems(codes) }
    const errors = isOpenAi ? envelopeContent : problemContent(codes)
    const content = { ...contentOf(answer), ...(codes.length > 0 && errors) }
    return [
      status,
      {
        description: [...(answer ? [answer.means] : []), ...meanings].join('\n\n'),
        ...(Object.keys(headers).length > 0 && { headers: headersJson(headers) }),
        ...(method !== 'HEAD' && Object.keys(content).length > 0 && { content }),
      },
    ]
  })
  return Object.fromEntries(responses)
}

function contentOf(answer: Answer | undefined): Json {
  if (answer?.json) return { 'application/json': { schema: schemaOf(answer.json) } }
  return Object.fromEntries((answer?.mediaTypes ?? []).map((type) => [type, {}]))
}

const problemContent = (codes: readonly RefusalCode[]): Json => ({
  'application/problem+json': {
    schema: { $ref: '#/components/schemas/Problem', properties: { code: { enum: codes } } },
  },
})

const envelopeContent: Json = {
  'application/json': { schema: { $ref: '#/components/schemas/OpenAiError' } },
}

const headersOfProblems = (codes: readonly RefusalCode[]): Record<string, string> => ({
  ...(codes.includes('unauthorized') && { 'WWW-Authenticate': 'Bearer' }),
  ...(codes.includes('rate_limited') && quotaHeadersSay),
  ...(codes.some((code) => code === 'rate_limited' || problems[code].status === 503) && {
    'Retry-After': 'seconds until it is worth another try',
  }),
})

const headersJson = (headers: Readonly<Record<string, string>>): Json =>
  Object.fromEntries(
    Object.entries(headers).map(([name, description]) => [
      name,
      { description, schema: { type: 'string' } },
    ]),
  )

/** What follows from who may use a route and from what it takes, and what it says by itself. */
function refusalsOf(
  method: string,
  { access, params, query, json, body = json, unknown, refusals = [] }: RouteDescription,
): RefusalCode[] {
  const changes = method !== 'GET' && method !== 'HEAD'
  const all: (RefusalCode | false)[] = [
    access !== 'anybody' && access !== 'probe' && 'unauthorized',
    access === 'admin' && 'forbidden',
    access === 'link' && 'link_invalid',
    access === 'link' && 'link_expired',
    changes && 'origin_not_allowed',
    changes && 'disk_full',
    changes && 'database_locked',
    body !== undefined && 'body_too_large',
    body !== undefined && 'malformed_body',
    body !== undefined && 'unsupported_media_type',
    (params ?? query ?? body) !== undefined && 'invalid_request',
    unknown ?? false,
    'service_busy',
    'database_unreachable',
    ...refusals,
  ]
  return [...new Set(all.filter((code) => code !== false))]
}
