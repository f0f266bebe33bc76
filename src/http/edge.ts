/** Where outside data becomes ours, and our refusals become exceptions. */
import type { Context } from 'hono'
import * as v from 'valibot'
import { RefusalError } from '../errors.ts'
import type { JobId } from '../job.ts'

/** Names the first field that is wrong and every rule that is broken. */
export function parse<Schema extends v.GenericSchema>(
  schema: Schema,
  input: unknown,
): v.InferOutput<Schema> {
  const result = v.safeParse(schema, input)
  if (result.success) return result.output
  const faults = result.issues.map((issue) => `${v.getDotPath(issue) ?? 'body'}: ${issue.message}`)
  const field = v.getDotPath(result.issues[0])
  throw new RefusalError('invalid_request', faults.join('; '), field === null ? {} : { field })
}

export async function readJson(c: Context): Promise<unknown> {
  const type = c.req.header('Content-Type') ?? ''
  if (!/^application\/([\w.+-]+\+)?json\b/i.test(type)) {
    throw new RefusalError('unsupported_media_type', 'Send the body as application/json.')
  }
  const bytes = await c.req.arrayBuffer()
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch (cause) {
    const why = cause instanceof TypeError ? 'it is not UTF-8' : (cause as Error).message
    throw new RefusalError('malformed_body', `The body is not JSON: ${why}.`, { cause })
  }
}

/** Of a request whose body may be left out. */
export const readJsonIfAny = async (c: Context): Promise<unknown> =>
  c.req.header('Content-Type') === undefined ? {} : readJson(c)

export function orThrow<Answer>(answer: Answer | RefusalError): Exclude<Answer, RefusalError> {
  if (answer instanceof RefusalError) throw answer
  return answer as Exclude<Answer, RefusalError>
}

export function found<Thing>(thing: Thing | undefined, refusal: () => RefusalError): Thing {
  if (thing === undefined) throw refusal()
  return thing
}

export const noJob = (...ids: JobId[]) =>
  new RefusalError('job_not_found', `No job has the id ${ids.join(', ')}.`, { field: 'id' })
