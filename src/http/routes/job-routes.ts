import { Hono } from 'hono'
import type { ClientEnv } from '../request/client-env.ts'
import { type CancelRoutesOptions, cancelRoutes } from './jobs/cancel-routes.ts'
import { type DetailRoutesOptions, detailRoutes } from './jobs/detail-routes.ts'
import { type ListRoutesOptions, listRoutes } from './jobs/list-routes.ts'
import { type LogRoutesOptions, logRoutes } from './jobs/log-routes.ts'
import { type StatusRoutesOptions, statusRoutes } from './jobs/status-routes.ts'
import { type SubmitRoutesOptions, submitRoutes } from './jobs/submit-routes.ts'

export type JobRoutesOptions = SubmitRoutesOptions &
  StatusRoutesOptions &
  ListRoutesOptions &
  DetailRoutesOptions &
  LogRoutesOptions &
  CancelRoutesOptions

/** HTTP in, messages out: a handler parses, asks and renders, and decides nothing. */
export const jobRoutes = (options: JobRoutesOptions) =>
  new Hono<ClientEnv>()
    .route('/', submitRoutes(options))
    .route('/', statusRoutes(options))
    // Before the routes of one job, or `lookup` would be taken for its id.
    .route('/', listRoutes(options))
    .route('/', detailRoutes(options))
    .route('/', logRoutes(options))
    .route('/', cancelRoutes(options))
