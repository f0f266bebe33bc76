import type { Context, Handler, MiddlewareHandler } from 'hono'
import { findTargetHandler } from 'hono/utils/handler'
import * as v from 'valibot'
import type { RefusalCode } from '../../domain/errors.ts'
import { rememberPaths } from '../fast/remember-paths.ts'
import type { ClientEnv } from './client-env.ts'
import { parse, readJson, readJsonIfAny } from './edge.ts'
import type { ReceivedImage } from './form.ts'

/** What a route takes and what it answers: for those who call it, and for the document. */
export type RouteDescription<
  Params = Schema,
  Query = Schema,
  Json = Schema,
  Body = Schema,
> = Readonly<{
  /** Its name in the document, and in clients that are made from it: a verb and a noun. */
  id: string
  access: Access
  tag: Tag
  summary: string
  details?: string
  /** By the names that its path has for them. */
  params?: Params
  query?: Query
  /** The body. One that is optional may be left out. */
  json?: Json
  /** In the place of `json` a body that the handler reads itself, since it may bring a file. */
  body?: Body
  /** Whether `body` may also come as a form. */
  form?: boolean
  /** What a header of the request says, by its name. */
  headers?: Readonly<Record<string, string>>
  /** How a field or parameter is refused that the schemas do not have. */
  unknown?: RefusalCode
  /** Of a body. */
  example?: object
  answers: Readonly<Record<number, Answer>>
  /** Beyond those that follow from the rest: what it takes, and who may use it. */
  refusals?: readonly RefusalCode[]
}>

/**
 * Who may use a route. `link`: a client, or anybody with a signed link. `stranger`: a client, or a caller
 * without a token. `probe`: anybody, as a client if the token is known. Admins are clients.
 */
export type Access = 'anybody' | 'probe' | 'stranger' | 'link' | 'client' | 'admin'

export type Tag = 'jobs' | 'videos' | 'openai' | 'webhooks' | 'gpus' | 'nodes' | 'service'

export type Answer = Readonly<{
  /** What it means. */
  means: string
  /** Of a body of JSON. */
  json?: Schema
  /** Of any other body: the types it may have. */
  mediaTypes?: readonly string[]
  /** What a header says, by its name. */
  headers?: Readonly<Record<string, string>>
}>

/** Why a job may not be taken, whatever it is. */
export const submissionRefusals = [
  'rate_limited',
  'queue_full',
  'shutting_down',
  'disk_full',
  'database_locked',
  'database_unreachable',
] as const satisfies readonly RefusalCode[]

export const submissionHeaders = {
  'Idempotency-Key': 'the same for each try at one submission: it is taken once',
}

type Schema = v.GenericSchema
type None = undefined
// biome-ignore lint/complexity/noBannedTypes: a target that is not taken adds no key
type EmptyObject = {}

/** What goes into a request's target, and what the handler gets of it. */
type Target<Name extends string, Given extends Schema | None, Side extends 'in' | 'out'> = [
  Given,
] extends [Schema]
  ? Side extends 'out'
    ? { [K in Name]: v.InferOutput<Given> }
    : MayBeLeftOut<v.InferInput<Given>> extends true
      ? { [K in Name]?: v.InferInput<Given> }
      : { [K in Name]: v.InferInput<Given> }
  : EmptyObject

/** It is optional, or all that it holds is. */
type MayBeLeftOut<Whole> = undefined extends Whole ? true : EmptyObject extends Whole ? true : false

type Targets<
  Params extends Schema | None,
  Query extends Schema | None,
  Json extends Schema | None,
  Side extends 'in' | 'out',
> = Target<'param', Params, Side> & Target<'query', Query, Side> & Target<'json', Json, Side>

/** A file does not fit into JSON, in which typed clients send. */
type UnreadBody<Body extends Schema | None> = [Body] extends [Schema]
  ? { json: WithoutFiles<v.InferInput<Body>> }
  : EmptyObject
type WithoutFiles<Fields> = {
  [Name in keyof Fields as ReceivedImage extends Fields[Name] ? never : Name]: Fields[Name]
}

const descriptions = new WeakMap<object, RouteDescription>()

/** Stands before a handler: lets through what is as described, and says so in the document. */
export function route<
  Params extends Schema | None = None,
  Query extends Schema | None = None,
  Json extends Schema | None = None,
  Body extends Schema | None = None,
>(
  description: RouteDescription<Params, Query, Json, Body>,
): MiddlewareHandler<
  ClientEnv,
  string,
  {
    in: Targets<Params, Query, Json, 'in'> & UnreadBody<Body>
    out: Targets<Params, Query, Json, 'out'>
  }
> {
  const { params, query, json, unknown } = description as RouteDescription
  const readBody = json && v.is(json, undefined) ? readJsonIfAny : readJson
  // Most requests ask for nothing that could be wrong.
  const noQuery = query && v.safeParse(query, {})
  const paramsOf = rememberPaths<object>()
  // Not async: each layer that is makes every request wait for the next microtask.
  const check: MiddlewareHandler = (c, next) => {
    const { req } = c
    if (params) {
      const found = paramsOf(req.path, () => parse(params, req.param(), unknown) as object)
      req.addValidatedData('param', found)
    }
    if (query) {
      const isPlain = noQuery?.success && !req.url.includes('?')
      const given = isPlain ? noQuery.output : parse(query, req.query(), unknown)
      req.addValidatedData('query', given as object)
    }
    return json ? checkBody(c, json).then(next) : next()
  }
  const checkBody = async (c: Context, body: Schema) => {
    c.req.addValidatedData('json', parse(body, await readBody(c), unknown) as object)
  }
  descriptions.set(check, description as RouteDescription)
  return check
}

/** Of the middleware that describes a route; of no other. */
export const descriptionOf = (handler: Handler | MiddlewareHandler): RouteDescription | undefined =>
  descriptions.get(findTargetHandler(handler))
