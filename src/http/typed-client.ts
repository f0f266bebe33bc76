/** For programs in TypeScript that use the API; given out as `wan-supervisor/client`. */
import { type ApplyGlobalResponse, type ClientRequestOptions, hc } from 'hono/client'
import type { App } from './app.ts'
import type { ProblemJson, problems } from './response/problem.ts'

export {
  DetailedError,
  type InferRequestType,
  type InferResponseType,
  parseResponse,
} from 'hono/client'
export type { ProblemJson as Problem } from './response/problem.ts'
export type { AttemptJson as Attempt } from './views/attempt-view.ts'
export type { GpuJson as Gpu } from './views/gpu-view.ts'
export type { JobJson as Job } from './views/job-view.ts'
export type { NodeJson as Node } from './views/node-view.ts'
export type { TaskJson as Task } from './views/task-view.ts'

type ProblemStatus = (typeof problems)[keyof typeof problems]['status']

/** Any route may also answer with a problem. */
type Api = ApplyGlobalResponse<App, { [Status in ProblemStatus]: { json: ProblemJson } }>

export type ClientOptions = ClientRequestOptions &
  Readonly<{
    /** Where the service asks for one. */
    token?: string | undefined
  }>

/**
 * A client that knows every route: `client.status[':id'].$get({ param: { id } })`. Its answers are those of
 * `fetch`; `parseResponse` makes of them what was asked for, and throws a `DetailedError` at a problem.
 */
export function createClient(baseUrl: string, { token, ...options }: ClientOptions = {}) {
  const { headers = {} } = options
  return hc<Api>(baseUrl, {
    ...options,
    headers: async () => ({
      ...(token !== undefined && { Authorization: `Bearer ${token}` }),
      ...(typeof headers === 'function' ? await headers() : headers),
    }),
  })
}

export type Client = ReturnType<typeof createClient>
