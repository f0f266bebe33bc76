import { Hono } from 'hono'
import type { RouterRoute } from 'hono/types'
import type { ActorRef } from '../actors/actor.ts'
import type { VideoFiles } from '../actors/archive/archive-ports.ts'
import type { ArchiveMessage } from '../actors/archive/archive-protocol.ts'
import type { EtaMessage } from '../actors/eta/eta-protocol.ts'
import type { EventMessage } from '../actors/event/event-protocol.ts'
import type { JanitorMessage } from '../actors/janitor/janitor-protocol.ts'
import type { Machines } from '../actors/node/machines.ts'
import type { QueueMessage } from '../actors/queue/queue-protocol.ts'
import type { ChildView } from '../actors/supervisor/supervisor-protocol.ts'
import type { WebhookMessage } from '../actors/webhook/webhook-protocol.ts'
import type { StandingCheck } from '../domain/check.ts'
import type { TokenHolder } from '../domain/client.ts'
import { RefusalError } from '../domain/errors.ts'
import type { History } from '../domain/history.ts'
import type { JobId } from '../domain/job.ts'
import type { Logger } from '../domain/log.ts'
import type { NodeName } from '../domain/node.ts'
import type { Observe } from '../domain/observation.ts'
import type { WanTask } from '../domain/wan-tasks.ts'
import { rememberingRouter } from './fast/remembering-router.ts'
import { createDocument } from './openapi/document.ts'
import { documentRoutes } from './openapi/document-routes.ts'
import type { Peers } from './peers/peers.ts'
import { createIdentify, routeOf } from './request/access.ts'
import { generateSchema, webhookSchema } from './request/bodies.ts'
import { allowOrigins, refuseOtherPages } from './request/browsers.ts'
import { type Certainty, withCertainty } from './request/certainty.ts'
import type { ClientEnv } from './request/client-env.ts'
import type { RefuseNegativePrompt, RefuseUrl } from './request/fields.ts'
import type { Uploads } from './request/form.ts'
import { hearOut } from './request/hear-out.ts'
import { createRefuseHosts, type OwnHosts } from './request/hosts.ts'
import { createLane, type Memory } from './request/lane.ts'
import { createRepeatedJobs } from './request/repeated-jobs.ts'
import { renderError, renderRefusal } from './response/errors.ts'
import { createNodeFiles, type NodeFilesOptions } from './response/node-files.ts'
import type { Downloads } from './response/send-file.ts'
import type { Previews } from './response/send-preview.ts'
import { adminRoutes } from './routes/admin-routes.ts'
import { dashboardRoutes } from './routes/dashboard-routes.ts'
import { etaRoutes } from './routes/eta-routes.ts'
import { eventRoutes } from './routes/event-routes.ts'
import { gpuRoutes } from './routes/gpu-routes.ts'
import { healthRoutes } from './routes/health-routes.ts'
import { jobRoutes } from './routes/job-routes.ts'
import { metricsRoutes, observeAnswer } from './routes/metrics-routes.ts'
import { nodeRoutes } from './routes/node-routes.ts'
import { statsRoutes } from './routes/stats-routes.ts'
import { type TaskRoutesOptions, taskRoutes } from './routes/task-routes.ts'
import { videoRoutes } from './routes/video-routes.ts'
import { webhookRoutes } from './routes/webhook-routes.ts'
import { whoamiRoutes } from './routes/whoami-routes.ts'
import { modelRoutes } from './v1/model-routes.ts'
import { openAiSubmissionRoutes } from './v1/submission-routes.ts'
import { openAiVideoRoutes } from './v1/video-routes.ts'
import { createFileLinks, type FileLinksOptions } from './views/file-links.ts'
import { createJobRenderer } from './views/job-view.ts'
import type { Nodes } from './views/node-view.ts'

export type AppOptions = Readonly<{
  actors: Readonly<{
    queue: ActorRef<QueueMessage>
    archive: ActorRef<ArchiveMessage>
    eta: ActorRef<EtaMessage>
    events: ActorRef<EventMessage>
    webhooks: ActorRef<WebhookMessage>
    janitor: ActorRef<JanitorMessage>
  }>
  access: Readonly<{
    /** Clients with a token; none: every client may do everything. */
    clients: readonly TokenHolder[]
    trustedProxies: number
    /** Names that requests may call the service by; absent: any. */
    ownHosts?: OwnHosts | undefined
    /** Origins whose pages may use the API in a browser; `*`: all. */
    corsOrigins: readonly string[]
    links: FileLinksOptions
  }>
  machines: Machines
  nodes: Nodes
  tasks: TaskRoutesOptions['tasks']
  files: Readonly<{
    resultsDir: string
    previewsDir: string
    /** Directory of the built dashboard, if it has been built. */
    dashboardDir: string
    logPath(jobId: JobId): string
    previews: Previews
    uploads: Uploads
    downloads: Downloads
    videoFiles: Pick<VideoFiles, 'find'>
    /** Where the files of a job are; absent: here. */
    holder?: NodeFilesOptions['holder']
  }>
  limits: Readonly<{
    maxFrames: number
    /** Longest time until a cancel is answered. */
    cancelWithinMs: number
    heartbeatMs: number
    syncWaitMs: number
    /** Time that finished jobs are kept; 0: no limit. */
    retentionMs: number
  }>
  status: Readonly<{
    version: string
    task: WanTask
    /** This node. */
    node: NodeName
    checks(): readonly StandingCheck[]
    /** Actors of this machine. */
    children(): Promise<readonly ChildView[]>
    history: History
    /** Metrics in Prometheus' text format. */
    scrape(): Promise<string>
    /** Absent: there is no other node. */
    certainty?: Certainty
  }>
  memory: Memory
  /** Other nodes of the cluster, which forward requests of their clients; absent: there are none. */
  peers?: Peers
  refuseUrl: RefuseUrl
  refuseNegativePrompt: RefuseNegativePrompt
  observe: Observe
  log: Logger
}>

/** The whole API in front of the actors. */
export function createApp({
  actors,
  access,
  machines,
  nodes,
  tasks,
  files,
  limits,
  status,
  memory,
  peers,
  refuseUrl,
  refuseNegativePrompt,
  observe,
  log,
}: AppOptions) {
  const { clients, corsOrigins } = access
  const { task, certainty } = status
  const links = createFileLinks(access.links)
  const render = createJobRenderer({
    ...{ eta: actors.eta, links, retentionMs: limits.retentionMs, nodeOf: machines.nodeOf },
  })
  const request = generateSchema(task, limits.maxFrames, refuseUrl, refuseNegativePrompt)
  const isPublic = clients.length === 0

  const app = new Hono<ClientEnv>({ router: rememberingRouter() })
  const renderFailure = renderError(log)
  const identify = createIdentify({ ...access, holders: clients, links })
  const refuseHosts = createRefuseHosts(access.ownHosts)
  const refuseUnreadableHosts = createRefuseHosts(undefined)
  const toPages = corsOrigins.length > 0 ? allowOrigins(corsOrigins) : undefined
  // One layer, for each of them costs a request more than most of what is done in it.
  app.use(async (c, next) => {
    const begun = performance.now()
    const asked = routeOf(c)
    c.set('requestId', c.env.outgoing.requestId)
    const forwardedFor = peers?.receive(c.env.incoming, c.env.outgoing)
    const admit = () => {
      // The node that forwards a request has checked the names and the page.
      if (forwardedFor !== undefined) refuseUnreadableHosts(c, asked)
      else {
        refuseHosts(c, asked)
        refuseOtherPages(c, corsOrigins)
      }
      identify(c, asked, forwardedFor)
      if (!certainty) return next()
      const isForwarded = forwardedFor !== undefined
      return withCertainty({ c, asked, isForwarded }, certainty, next)
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
  const { version } = status
  const { baseUrl } = access.links
  const describe = () => createDocument({ routes: app.routes, version, baseUrl })
  app.route('/', dashboardRoutes(files.dashboardDir))
  app.route('/', documentRoutes(describe))
  // In one chain: its type is what typed clients know of the API.
  const repeatedJobs = createRepeatedJobs()
  const { holder } = files
  const nodeFiles = holder && peers && createNodeFiles({ holder, peers, log })
  const lane = createLane(memory)
  const forVideos = {
    ...actors,
    ...files,
    ...limits,
    nodeFiles,
    task,
    refuseUrl,
    refuseNegativePrompt,
    repeatedJobs,
    lane,
    ...render,
  }
  return app
    .route(
      '/',
      jobRoutes({ ...actors, ...files, ...limits, nodeFiles, render, request, repeatedJobs, lane }),
    )
    .route('/', eventRoutes({ ...actors, ...limits, render, observe, memory }))
    .route('/', videoRoutes({ ...actors, ...files, nodeFiles, links, isPublic }))
    .route('/', webhookRoutes({ ...actors, wish: webhookSchema(refuseUrl) }))
    .route('/', gpuRoutes({ ...actors, machines }))
    .route('/', nodeRoutes({ ...actors, nodes }))
    .route('/', taskRoutes({ tasks }))
    .route('/', openAiSubmissionRoutes(forVideos))
    .route('/', openAiVideoRoutes(forVideos))
    .route('/', modelRoutes(task))
    .route('/', whoamiRoutes())
    .route('/', adminRoutes(actors))
    .route('/', etaRoutes({ ...actors, ...status }))
    .route('/', statsRoutes({ ...status, machines }))
    .route('/', healthRoutes({ ...actors, ...status, nodes }))
    .route('/', metricsRoutes(status))
}

/** The API as clients see it. */
export type App = ReturnType<typeof createApp>

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
