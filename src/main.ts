/** The composition root: the only place where the parts meet. */
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { uptime } from 'node:os'
import { join } from 'node:path'
import { getRequestListener } from '@hono/node-server'
import { type ActorRef, ask, createPlace, startActorSystem, tell } from './actors/actor.ts'
import { conversionBehaviour } from './actors/conversion/conversion-actor.ts'
import type { ConversionMessage } from './actors/conversion/conversion-protocol.ts'
import { etaBehaviour } from './actors/eta/eta-actor.ts'
import type { EtaMessage } from './actors/eta/eta-protocol.ts'
import { publishedSeconds } from './actors/eta/published-speeds.ts'
import { eventBehaviour } from './actors/event/event-actor.ts'
import type { EventMessage } from './actors/event/event-protocol.ts'
import { gpuBehaviour } from './actors/gpu/gpu-actor.ts'
import type { GpuMessage } from './actors/gpu/gpu-protocol.ts'
import { janitorBehaviour } from './actors/janitor/janitor-actor.ts'
import type { JanitorMessage } from './actors/janitor/janitor-protocol.ts'
import { type QueueMail, queueBehaviour } from './actors/queue/queue-actor.ts'
import { child, startSupervisor } from './actors/supervisor/supervisor.ts'
import type { SupervisorEvent } from './actors/supervisor/supervisor-protocol.ts'
import { webhookBehaviour } from './actors/webhook/webhook-actor.ts'
import type { WebhookMessage } from './actors/webhook/webhook-protocol.ts'
import { readConfig } from './config/config.ts'
import { root } from './config/root.ts'
import { version } from './config/version.ts'
import { createAddressGuard } from './domain/address-guard.ts'
import type { GpuId, Job, JobId } from './domain/job.ts'
import type { Logger } from './domain/log.ts'
import { wanTasks } from './domain/wan-tasks.ts'
import { createApp } from './http/app.ts'
import { Outgoing } from './http/fast/outgoing.ts'
import { refuseUnreadable } from './http/response/problem.ts'
import { createEventBody } from './http/views/event-body.ts'
import { createFileLinks } from './http/views/file-links.ts'
import { createJobRenderer } from './http/views/job-view.ts'
import {
  createDirectories,
  createWorkFiles,
  lockDirectory,
  logOf,
  removeUploads,
} from './infra/disk/data-directory.ts'
import { createReserve } from './infra/disk/reserve.ts'
import { settleRuntime } from './infra/fast/runtime.ts'
import { commandOfAttempt } from './infra/generation/command.ts'
import { endFormerLife } from './infra/generation/former-life.ts'
import { createGenerationRunner } from './infra/generation/runner.ts'
import { installationLooks } from './infra/installation/installation.ts'
import { keepChecking } from './infra/installation/standing-checks.ts'
import { createStdoutLog } from './infra/logging/stdout-log.ts'
import { createGpuMeter } from './infra/machine/gpu-meter.ts'
import { detectGpus, type Gpu } from './infra/machine/gpus.ts'
import { createDownloads } from './infra/media/downloads.ts'
import { createPreviews, forgetPreviews } from './infra/media/previews.ts'
import { createUploads } from './infra/media/uploads.ts'
import { createVideoFiles, createVideoTools, removeUnfinished } from './infra/media/video-tools.ts'
import { readFigures } from './infra/metrics/figures.ts'
import { createMetrics } from './infra/metrics/metrics.ts'
import { createForkServer } from './infra/processes/fork-server.ts'
import { migrateToLatest, openDatabase } from './infra/store/database.ts'
import { createEtaStore } from './infra/store/eta-store.ts'
import { createHistoryStore } from './infra/store/history-store.ts'
import { createJobStore } from './infra/store/job-store.ts'
import { createRetentionStore } from './infra/store/retention-store.ts'
import { createWebhookStore } from './infra/store/webhook-store.ts'
import { createBackups } from './infra/upkeep/backups.ts'
import { hasFilesOfJobs } from './infra/upkeep/earlier-jobs.ts'
import { createHousekeeping } from './infra/upkeep/housekeeping.ts'
import { readLinkKey } from './infra/webhooks/link-key.ts'
import { createWebhookSender } from './infra/webhooks/webhook-sender.ts'

/** Answers to a cancel wait this much longer than a process is given to end by itself. */
const afterGraceMs = 10_000

/** More than there can be GPUs. */
const everyRunning = { status: ['running'], order: 'asc', limit: 10_000 } as const

/** As long as a timer of Node's can be: somebody waits as long as it takes. */
const maxTimerMs = 2 ** 31 - 1

/** How long open requests may take to end before the service leaves without them. */
const goodbyeMs = 1_000

/** Node's own defaults let a slow client hold a connection for minutes (facts: HTTP abuse). */
const serverOptions = {
  headersTimeout: 5_000,
  // An image of 20 MiB has to get through a slow line.
  requestTimeout: 120_000,
  // Longer than proxies keep theirs, a minute as a rule: none may send into one that is just closed.
  keepAliveTimeout: 75_000,
  connectionsCheckingInterval: 1_000,
  ServerResponse: Outgoing,
} as const
const maxConnections = 2_000

/** Assumed of a GPU that nobody has published a figure of: README's "under 9 minutes". */
const unknownJobSeconds = 540

const loopback = /^(127\.|::1$|::ffff:127\.)/

await main().catch((error: unknown) => {
  const why = error instanceof Error ? error.message : String(error)
  process.stderr.write(`wan-supervisor cannot start. ${why}\n`)
  process.exit(1)
})

async function main(): Promise<void> {
  const config = readConfig(process.env)
  // What we start inherits the environment, and has no business with these.
  delete process.env.API_TOKENS
  const log = await createStdoutLog(config.logLevel)
  const gpus = await detectGpus(config)
  const lock = lockDirectory(config.dataDir)
  createDirectories(config.data)
  const reserve = createReserve(config.reserve)
  const database = openDatabase(config.data.stateDb, {
    mustHaveJobs: await hasFilesOfJobs(config.data, config.backupsDir),
    makeRoom: reserve.release,
  })
  const checks = keepChecking({ database: database.check, ...installationLooks(config.wan) })
  const backups = createBackups(config.backupsDir, database)
  await migrateToLatest(database.db, backups.beforeMigration)
  const gpuModels = new Map(gpus.map(({ id, name }) => [id, name]))
  const store = createJobStore(database.db, {
    reserve,
    setting: {
      task: config.wan.task,
      gpuModels,
      commandOf: (order) => commandOfAttempt(config.data, config.wan, order),
    },
  })
  const history = createEtaStore(database.db, config.wan)
  const { jobs: running } = await store.list(everyRunning, 'everything')
  const owned = [...gpus, ...formerGpus(gpus, running)]
  await removeUnfinished(config.data.resultsDir)
  await removeUploads(config.data)
  await forgetPreviews(config.data)
  await endFormerLife(config.data, {
    running: running.map(({ id, epoch }) => ({ jobId: id, epoch })),
    fateOf: async (jobId) => fateOf(await store.find(jobId, 'everything')),
    archiveDir: config.archiveDir,
    log,
  })

  const queue = createPlace<QueueMail>('queue')
  const eta = createPlace<EtaMessage>('eta')
  const events = createPlace<EventMessage>('events')
  const webhooks = createPlace<WebhookMessage>('webhooks')
  const conversion = createPlace<ConversionMessage>('conversion')
  const janitor = createPlace<JanitorMessage>('janitor')
  const places = new Map(owned.map(({ id }) => [id, createPlace<GpuMessage>(childOf(id))]))

  const { data, wan, graceMs, jobTimeoutMs } = config
  const { retentionMs } = config.retention
  const { frames, steps } = wanTasks[wan.task]
  const speeds = {
    kinds: gpuModels,
    defaults: {
      usual: { size: '1280x720', frames, steps } as const,
      seconds: (kind: string | undefined) =>
        config.defaultJobSeconds ?? publishedSeconds(wan.task, kind) ?? unknownJobSeconds,
    },
    bootedAt: Date.now() - uptime() * 1000,
  }
  const cancelWaitMs = graceMs + afterGraceMs
  const links = {
    baseUrl: config.baseUrl,
    key: config.clients.length > 0 ? readLinkKey(config.linkKey) : undefined,
    lifeS: config.fileUrlTtlS,
  }
  const guard = createAddressGuard(config.webhookAllow)
  const webhookStore = createWebhookStore(database.db)
  const { observe, expose } = createMetrics({
    gpus: owned,
    childOf,
    version,
    task: wan.task,
    maxQueue: config.maxQueue,
    minFreeBytes: config.minFreeBytes,
    log,
  })
  const measured = createGpuMeter(owned)
  const downloads = createDownloads()
  const forkServer = createForkServer(wan.python)
  const system = startActorSystem()
  const supervisor = startSupervisor(
    system,
    [
      child(
        system,
        queue,
        () =>
          queueBehaviour({
            settings: { ...config, gpus: gpus.map(({ id }) => id), cancelWaitMs },
            store,
            videoFiles: createVideoFiles(data, downloads),
            workFiles: createWorkFiles(data),
            gpus: places,
            conversion,
            eta,
            events,
            webhooks,
            observe,
            log,
          }),
        { significant: true },
      ),
      child(system, eta, () => etaBehaviour({ history, queue, speeds, observe, log })),
      child(system, events, () => eventBehaviour({ queue, eta, log })),
      child(system, webhooks, () =>
        webhookBehaviour({
          store: webhookStore,
          jobs: store,
          sender: createWebhookSender({
            guard,
            userAgent: `wan-supervisor/${version}`,
          }),
          render: createEventBody(
            createJobRenderer({ eta, links: createFileLinks(links), retentionMs }),
          ),
          observe,
          log,
        }),
      ),
      child(system, conversion, () => {
        const tools = createVideoTools({ data, fit: config.fit720, start: forkServer.startTool })
        return conversionBehaviour({ task: wan.task, tools, queue, limit: config.maxConversions })
      }),
      child(system, janitor, () => {
        const { archiveDir, minFreeBytes, retention: limits } = config
        const known = async (jobIds: readonly JobId[]) =>
          new Set((await store.findMany(jobIds, 'everything')).map(({ id }) => id))
        const housekeeping = createHousekeeping({ data, backups, reserve, archiveDir, known })
        const retention = createRetentionStore(database.db)
        return janitorBehaviour({
          housekeeping,
          retention,
          queue,
          minFreeBytes,
          limits,
          observe,
          log,
        })
      }),
      ...owned.map(({ id: gpu, device }) => {
        const { env } = process
        const runner = createGenerationRunner({ data, wan, gpu, device, env, forkServer, log })
        return child(system, places.get(gpu) ?? createPlace(childOf(gpu)), () =>
          gpuBehaviour({ gpu, runner, queue, graceMs, jobTimeoutMs }),
        )
      }),
    ],
    (event) => {
      logEvent(log, event)
      // What comes of it is told by itself.
      if (event.type === 'childRestartAsked') return
      const gone = owned.find(({ id }) => childOf(id) === event.id)
      if (gone) {
        const givenUp = event.type === 'childGivenUp'
        tell(queue, { type: 'gpuGone', gpu: gone.id, givenUp })
      }
      if (event.type === 'childGivenUp' && event.significant) {
        log.error({ child: event.id }, 'the service cannot go on without this part and ends')
        process.exit(1)
      }
    },
  )

  const app = createApp({
    clients: config.clients,
    trustedProxies: config.trustedProxies,
    corsOrigins: config.corsOrigins,
    queue,
    eta,
    events,
    janitor,
    supervisor,
    gpus: owned,
    childOf,
    measured,
    checks,
    async scrape() {
      const { stateDb } = data
      return expose(await readFigures({ queue, supervisor, webhooks, stateDb, measured, checks }))
    },
    observe,
    task: wan.task,
    maxFrames: config.maxFrames,
    cancelWithinMs: cancelWaitMs + afterGraceMs,
    heartbeatMs: config.heartbeatMs,
    syncWaitMs: config.syncWaitMs,
    webhooks,
    refuseUrl: guard.refuse,
    links,
    resultsDir: data.resultsDir,
    previewsDir: data.previewsDir,
    previews: createPreviews(data, forkServer.startTool),
    uploads: createUploads(data, forkServer.startTool),
    downloads,
    retentionMs,
    logPath: (jobId) => logOf(data, jobId),
    history: createHistoryStore(database.db),
    dashboardDir: join(root, 'dist', 'dashboard'),
    version,
    log,
  })
  const listener = getRequestListener(app.fetch, {
    hostname: config.host,
    errorHandler: refuseUnreadable,
  })
  const server = createServer(serverOptions, listener)
  server.listen(config.port, config.host, () => {
    const { address, port } = server.address() as AddressInfo
    const url = `http://${address.includes(':') ? `[${address}]` : address}:${port}`
    log.info({ url, gpus: gpus.map(({ id }) => id), dataDir: config.dataDir }, 'listening')
    setImmediate(settleRuntime)
    forkServer.warmUp()
    if (!loopback.test(address) && config.clients.length === 0) {
      log.warn({ url }, 'others can reach this address, and nobody is asked for a token')
    }
  })
  server.maxConnections = maxConnections
  server.on('error', (error) => {
    log.error({ err: error }, 'the address cannot be used; set HOST or PORT to another')
    process.exit(1)
  })

  if (config.faultInjection) process.on('SIGUSR2', crashAnActor)
  process.once('SIGTERM', stop)
  process.once('SIGINT', stop)

  /** For crash tests: a message that no actor survives, to the one that the file `crash` names. */
  function crashAnActor(): void {
    const name = readFileSync(join(config.dataDir, 'crash'), 'utf8').trim()
    const victim = [queue, eta, events, webhooks, conversion, ...places.values()].find(
      (place) => place.name === name,
    )
    if (victim) tell(victim as ActorRef<never>, null as never)
  }

  /** By default generations are left to their shims, and the next start takes them up again. */
  async function stop(signal: NodeJS.Signals): Promise<void> {
    log.info({ signal, shutdown: config.shutdown }, 'stopping')
    for (const again of ['SIGTERM', 'SIGINT'] as const) process.once(again, () => process.exit(1))
    // Until this is answered, requests are: only new jobs are refused.
    await ask(queue, { type: 'close', mode: config.shutdown }, maxTimerMs).catch(() => {})
    tell(events, { type: 'close' })
    const closed = new Promise((resolve) => server.close(resolve))
    // A connection that was busy just now is an idle one in a moment.
    setInterval(() => server.closeIdleConnections(), 50)
    setTimeout(() => server.closeAllConnections(), goodbyeMs)
    await closed
    await ask(supervisor, { type: 'shutdown' })
    await forkServer.close()
    await database.close()
    lock.release()
    process.exit(0)
  }
}

function fateOf(job: Job | undefined): 'open' | 'over' | 'unknown' {
  if (!job) return 'unknown'
  return job.state.status === 'queued' || job.state.status === 'running' ? 'open' : 'over'
}

function childOf(gpu: GpuId): string {
  return `gpu-${gpu}`
}

/** GPUs that are no longer ours but still have a generation to watch; they get no new job. */
function formerGpus(gpus: readonly Gpu[], running: readonly Job[]): Gpu[] {
  const ids = running.flatMap(({ state }) =>
    state.status === 'running' && state.phase === 'generating' ? [state.gpu] : [],
  )
  return ids
    .filter((id) => !gpus.some((gpu) => gpu.id === id))
    .map((id) => ({ id, device: String(id) }))
}

function logEvent(log: Logger, event: SupervisorEvent): void {
  const { type, id, ...rest } = event
  const fields = { actor: id, ...rest, ...('error' in event && { err: event.error }) }
  if (type === 'childRestartAsked') log.info(fields, 'actor restart asked for')
  else if (type === 'childStopped') log[event.killed ? 'warn' : 'info'](fields, 'actor stopped')
  else if (type === 'childFailed') log.error(fields, 'actor crashed; it will be started again')
  else log.error(fields, 'actor crashed too often and was given up')
}
