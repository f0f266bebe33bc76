import { type Context, Hono } from 'hono'
import type { RouterRoute } from 'hono/types'
import type { ActorRef } from '../actors/actor.ts'
import type { EtaMessage } from '../actors/eta/eta-protocol.ts'
import type { EventMessage } from '../actors/event/event-protocol.ts'
import type { JanitorMessage } from '../actors/janitor/janitor-protocol.ts'
import type { QueueMessage } from '../actors/queue/queue-protocol.ts'
import type { SupervisorMessage } from '../actors/supervisor/supervisor-protocol.ts'
import type { WebhookMessage } from '../actors/webhook/webhook-protocol.ts'
import type { StandingCheck } from '../domain/check.ts'
import type { TokenHolder } from '../domain/client.ts'
import { RefusalError } from '../domain/errors.ts'
import type { History } from '../domain/history.ts'
import type { GpuId, JobId } from '../domain/job.ts'
import type { Logger } from '../domain/log.ts'
import type { Observe } from '../domain/observation.ts'
import type { WanTask } from '../domain/wan-tasks.ts'
import { rememberingRouter } from './fast/remembering-router.ts'
import { createDocument } from './openapi/document.ts'
import { documentRoutes } from './openapi/document-routes.ts'
import { createIdentify, routeOf } from './request/access.ts'
import { generateSchema, webhookSchema } from './request/bodies.ts'
import { allowOrigins, refuseOtherPages } from './request/browsers.ts'
import type { ClientEnv } from './request/client-env.ts'
import type { RefuseUrl } from './request/fields.ts'
import type { Uploads } from './request/form.ts'
import { hearOut } from './request/hear-out.ts'
import { renderError, renderRefusal } from './response/errors.ts'
import { unreadable } from './response/problem.ts'
import type { Downloads } from './response/send-file.ts'
import type { Previews } from './response/send-preview.ts'
import { adminRoutes } from './routes/admin-routes.ts'
import { dashboardRoutes } from './routes/dashboard-routes.ts'
import { etaRoutes } from './routes/eta-routes.ts'
import { eventRoutes } from './routes/event-routes.ts'
import { type GpuRoutesOptions, gpuRoutes } from './routes/gpu-routes.ts'
import { healthRoutes } from './routes/health-routes.ts'
import { jobRoutes } from './routes/job-routes.ts'
import { metricsRoutes, observeAnswer } from './routes/metrics-routes.ts'
import { statsRoutes } from './routes/stats-routes.ts'
import { videoRoutes } from './routes/video-routes.ts'
import { webhookRoutes } from './routes/webhook-routes.ts'
import { whoamiRoutes } from './routes/whoami-routes.ts'
import { modelRoutes } from './v1/model-routes.ts'
import { openAiSubmissionRoutes } from './v1/submission-routes.ts'
import { openAiVideoRoutes } from './v1/video-routes.ts'
import { createFileLinks, type FileLinksOptions } from './views/file-links.ts'
import { createJobRenderer } from './views/job-view.ts'

export type AppOptions = Readonly<{
  /** Whose tokens are taken; none: everybody may do everything. */
  clients: readonly TokenHolder[]
  trustedProxies: number
  /** Whose pages may use the API in a browser; `*`: everybody's. */
  corsOrigins: readonly string[]
  queue: ActorRef<QueueMessage>
  eta: ActorRef<EtaMessage>
  events: ActorRef<EventMessage>
  webhooks: ActorRef<WebhookMessage>
  refuseUrl: RefuseUrl
  supervisor: ActorRef<SupervisorMessage>
  gpus: GpuRoutesOptions['gpus']
  childOf(gpu: GpuId): string
  measured: GpuRoutesOptions['measured']
  checks(): readonly StandingCheck[]
  scrape(): Promise<string>
  observe: Observe
  task: WanTask
  maxFrames: number
  cancelWithinMs: number
  heartbeatMs: number
  syncWaitMs: number
  links: FileLinksOptions
  resultsDir: string
  previewsDir: string
  previews: Previews
  uploads: Uploads
  downloads: Downloads
  /** How long what is over is kept; 0: for good. */
  retentionMs: number
  janitor: ActorRef<JanitorMessage>
  logPath(jobId: JobId): string
  history: History
  /** Where the build of the dashboard is, if it has been made. */
  dashboardDir: string
  version: string
  log: Logger
}>

/** The whole API in front of the actors. */
export function createApp(options: AppOptions) {
  const { queue, eta, events, task, maxFrames, log } = options
  const { clients, corsOrigins, heartbeatMs, webhooks, refuseUrl, observe, retentionMs } = options
  const links = createFileLinks(options.links)
  const render = createJobRenderer({ eta, links, retentionMs })
  const request = generateSchema(task, maxFrames, refuseUrl)

  const app = new Hono<ClientEnv>({ router: rememberingRouter() })
  const renderFailure = renderError(log)
  const identify = createIdentify({ ...options, holders: clients, links })
  const refuseUnreadable = createRefuseUnreadable()
  const toPages = corsOrigins.length > 0 ? allowOrigins(corsOrigins) : undefined
  // One layer, for each of them costs a request more than most of what is done in it.
  app.use(async (c, next) => {
    const begun = performance.now()
    const asked = routeOf(c)
    c.set('requestId', c.env.outgoing.requestId)
    const admit = () => {
      refuseUnreadable(c)
      refuseOtherPages(c, corsOrigins)
      identify(c, asked)
      return next()
    }
    try {
      if (toPages) c.res = (await toPages(c, admit)) ?? c.res
      else await admit()
    } catch (error) {
      c.res = await renderFailure(error as Error, c)
    }
    observeAnswer(c, asked, begun, observe)
    if (c.res.status >= 400) await hearOut(c)
  })
  app.onError(renderFailure)
  app.notFound((c) => {
    const methods = methodsFor(app.routes, c.req.path)
    if (methods.length === 0) {
      return renderRefusal(
        c,
        new RefusalError('route_not_found', `There is nothing at ${c.req.path}.`),
      )
    }
    c.header('Allow', methods.join(', '))
    const detail = `${c.req.path} knows ${methods.join(', ')}, not ${c.req.method}.`
    return renderRefusal(c, new RefusalError('method_not_allowed', detail))
  })
  const describe = () =>
    createDocument({ routes: app.routes, version: options.version, baseUrl: options.links.baseUrl })
  app.route('/', dashboardRoutes(options.dashboardDir))
  app.route('/', documentRoutes(describe))
  // In one chain: its type is what typed clients know of the API.
  return app
    .route('/', jobRoutes({ ...options, render, request }))
    .route('/', eventRoutes({ queue, events, render, heartbeatMs, observe }))
    .route('/', videoRoutes({ ...options, links, isPublic: clients.length === 0 }))
    .route('/', webhookRoutes({ webhooks, wish: webhookSchema(refuseUrl) }))
    .route('/', gpuRoutes(options))
    .route('/', openAiSubmissionRoutes({ ...options, ...render }))
    .route('/', openAiVideoRoutes({ ...options, ...render }))
    .route('/', modelRoutes(task))
    .route('/', whoamiRoutes())
    .route('/', adminRoutes(options))
    .route('/', etaRoutes(options))
    .route('/', statsRoutes(options))
    .route('/', healthRoutes(options))
    .route('/', metricsRoutes(options))
}

/** The API as clients see it. */
export type App = ReturnType<typeof createApp>

/** What of a Host is not a name would be taken for the path. */
function createRefuseUnreadable() {
  // Nearly all requests have the same, and nothing else of an address can be unreadable here.
  let readable: string | undefined
  return (c: Context<ClientEnv>): void => {
    const { host } = c.env.incoming.headers
    if (host === readable) return
    if (!URL.canParse(c.req.url) || /[/?#@\\]/.test(host ?? '')) throw unreadable()
    readable = host
  }
}

function methodsFor(routes: readonly RouterRoute[], path: string): string[] {
  const matching = routes.filter(
    ({ method, path: pattern }) => method !== 'ALL' && matches(pattern, path),
  )
  return [...new Set(matching.map(({ method }) => method))]
}

function matches(pattern: string, path: string): boolean {
  const wanted = pattern.split('/')
  const given = path.split('/')
  return (
    wanted.length === given.length &&
    wanted.every((part, index) => part.startsWith(':') || part === given[index])
  )
}
