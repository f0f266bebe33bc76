/** The composition root: the only place where the parts of the service meet. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { ask, tell } from '../actors/actor.ts'
import type { CloseMode } from '../actors/queue/queue-protocol.ts'
import type { Config } from '../config/config.ts'
import { root } from '../config/root.ts'
import { version } from '../config/version.ts'
import { createAddressGuard } from '../domain/address-guard.ts'
import type { Job } from '../domain/job.ts'
import type { Logger } from '../domain/log.ts'
import { type Member, soleNode } from '../domain/node.ts'
import { maxTimerMs } from '../domain/time.ts'
import { createApp } from '../http/app.ts'
import { connectionLimits } from '../http/connections/connection-limits.ts'
import { logOf } from '../infra/disk/data-directory.ts'
import { installationLooks } from '../infra/installation/installation.ts'
import { createNegativePromptRefusal } from '../infra/installation/negative-prompt.ts'
import { keepChecking } from '../infra/installation/standing-checks.ts'
import { readFileLimit } from '../infra/machine/file-limit.ts'
import { createGpuMeter } from '../infra/machine/gpu-meter.ts'
import { detectGpus, type Gpu } from '../infra/machine/gpus.ts'
import { createDownloads } from '../infra/media/downloads.ts'
import { createPreviews } from '../infra/media/previews.ts'
import { createUploads } from '../infra/media/uploads.ts'
import { createVideoFiles } from '../infra/media/video-files.ts'
import { readFigures } from '../infra/metrics/figures.ts'
import { createMetrics } from '../infra/metrics/metrics.ts'
import { createForkServer } from '../infra/processes/fork-server.ts'
import { readLinkKey } from '../infra/webhooks/link-key.ts'
import { childOf, startActors } from './actors.ts'
import { createClockCheck } from './clock-check.ts'
import { type HttpServer, listen } from './http-server.ts'
import { openStorage, type Storage } from './storage.ts'

/** A cancel is answered at most this long after the time that a process has to end by itself. */
const afterGraceMs = 10_000

/** Time to close a database that is lost to this service. */
const maxCloseMs = 2_000

/** Fewer are a sign of a limit that nobody chose. */
const fewConnections = 400

const loopback = /^(127\.|::1$|::ffff:127\.)/

export type ServiceOptions = Readonly<{
  log: Logger
  /** Environment of generations, without secrets. */
  env: NodeJS.ProcessEnv
  /** A part that the service cannot do without was given up. The service should be stopped. */
  onGivenUp?(actor: string): void
}>

export type Service = Readonly<{
  /** Resolves with the URL once requests are accepted. Rejects with a message for the operator. */
  start(): Promise<string>
  /** Resolves when everything is closed. Requests are answered until the queue has closed. */
  stop(mode?: CloseMode): Promise<void>
}>

/** One service in one data directory. It can be started again after it was stopped. */
export function createService(config: Config, options: ServiceOptions): Service {
  let started: Promise<Running> | undefined

  return {
    async start() {
      if (started) throw new Error('The service has been started already.')
      started = startService(config, options)
      started.catch(() => {
        started = undefined
      })
      return (await started).url
    },
    /** During a start it waits for the end of the start. */
    async stop(mode = config.shutdown) {
      const stopping = await started
      started = undefined
      await stopping?.stop(mode)
    },
  }
}

type Running = Readonly<{ url: string; stop(mode: CloseMode): Promise<void> }>

async function startService(
  config: Config,
  { log, env, onGivenUp = () => {} }: ServiceOptions,
): Promise<Running> {
  const gpus = await detectGpus(config)
  await using resources = new AsyncDisposableStack()
  let database: Storage['database'] | undefined
  const storage = await openStorage(config, { gpus, log, onLost: endWithoutStorage }, resources)
  database = storage.database
  const { data, wan } = config
  const owned = [...gpus, ...formerGpus(gpus, storage.running)]
  const cancelWaitMs = config.graceMs + afterGraceMs
  const links = {
    baseUrl: config.baseUrl,
    key: config.clients.length > 0 ? readLinkKey(config.linkKey) : undefined,
    lifeS: config.fileUrlTtlS,
  }
  const guard = createAddressGuard(config.webhookAllow)
  const metrics = createMetrics({
    gpus: owned,
    childOf,
    version,
    task: wan.task,
    maxQueue: config.maxQueue,
    minFreeBytes: config.minFreeBytes,
    log,
  })
  const clock = createClockCheck(metrics.observe)
  const { observe } = clock
  const looks = installationLooks(wan)
  const checks = resources.use(keepChecking({ database: storage.database.check, ...looks }))
  const measured = createGpuMeter(owned)
  const downloads = createDownloads()
  const videoFiles = createVideoFiles(data, downloads)
  const forkServer = createForkServer(wan.python)
  resources.defer(forkServer.close)
  const nodeOf = () => soleNode
  const actors = startActors({
    ...{ config, storage, gpus, owned, cancelWaitMs, env, forkServer, videoFiles },
    ...{ guard, links, nodeOf, observe, log, onGivenUp },
    installation: { names: Object.keys(looks), ...checks },
  })
  resources.defer(async () => {
    await ask(actors.supervisor, { type: 'shutdown' })
  })
  if (config.faultInjection) injectFaults(config, actors.crash, resources)

  // The connections say so as soon as there are some.
  const memory = { isShort: () => false }
  const members = (): readonly Member[] => [
    {
      ...{ name: soleNode, url: config.baseUrl || server.url, version },
      ...{ role: 'leader', state: 'present' },
    },
  ]
  const app = createApp({
    actors,
    access: {
      clients: config.clients,
      trustedProxies: config.trustedProxies,
      corsOrigins: config.corsOrigins,
      // A page of another name has no token to show.
      ownHosts: config.clients.length === 0 ? ownHosts(config) : undefined,
      links,
    },
    gpus: { gpus: owned, nodeOf, childOf, measured },
    // The queue refuses to remove the only node, which is there.
    nodes: { members, remove: async () => {} },
    tasks: [{ task: wan.task, checkpoint: wan.ckptDir, template: actors.template }],
    files: {
      resultsDir: data.resultsDir,
      previewsDir: data.previewsDir,
      dashboardDir: join(root, 'dist', 'dashboard'),
      logPath: (jobId) => logOf(data, jobId),
      previews: createPreviews(data, forkServer.startTool),
      uploads: createUploads(data, forkServer.startTool),
      downloads,
      videoFiles,
    },
    limits: {
      maxFrames: config.maxFrames,
      cancelWithinMs: cancelWaitMs + afterGraceMs,
      heartbeatMs: config.heartbeatMs,
      syncWaitMs: config.syncWaitMs,
      retentionMs: config.retention.retentionMs,
    },
    status: {
      version,
      task: wan.task,
      checks: () => [...checks.standing(), ...clock.standing()],
      history: storage.stores.history,
      async scrape() {
        const { bytes: databaseBytes } = storage.database
        const whole = { ...actors, members, leads: () => true, databaseBytes }
        const figures = await readFigures({ ...whole, measured, checks: checks.standing })
        return metrics.expose(figures)
      },
    },
    memory,
    refuseUrl: guard.refuse,
    refuseNegativePrompt: createNegativePromptRefusal(wan),
    observe,
    log,
  })
  const limits = connectionLimits({
    maxFiles: readFileLimit(),
    gpus: owned.length,
    trustedProxies: config.trustedProxies,
  })
  const { host, port } = config
  const server = await listen(app, { host, port, limits, memory, observe, log }).catch(
    (error: unknown) => {
      log.error({ err: error }, 'the address cannot be used; set HOST or PORT to another')
      throw error
    },
  )
  resources.defer(server.close)
  forkServer.warmUp()
  announce(server, config, gpus, log)
  if (limits.maxConnections < fewConnections)
    log.warn(limits, 'few open files are allowed; raise the limit (ulimit -n, LimitNOFILE)')

  const held = resources.move()
  return {
    url: server.url,
    /** By default generations are left to their shims, and the next start adopts them. */
    async stop(mode) {
      await ask(actors.queue, { type: 'close', mode }, maxTimerMs).catch(() => {})
      tell(actors.events, { type: 'close' })
      await held.disposeAsync()
    },
  }

  /** Generations go on in their shims, for the service that takes the database over. */
  function endWithoutStorage(why: string): void {
    log.error({ reason: why }, 'the database is no longer that of this service')
    // What is in a journal that was removed gets back into the database.
    const closed = database?.close().catch(() => {})
    void Promise.race([closed, delay(maxCloseMs)]).then(() => onGivenUp('database'))
  }
}

function announce(
  { url, address }: HttpServer,
  { dataDir, clients }: Config,
  gpus: readonly Gpu[],
  log: Logger,
): void {
  log.info({ url, gpus: gpus.map(({ id }) => id), dataDir }, 'listening')
  if (!loopback.test(address) && clients.length === 0) {
    log.warn({ url }, 'others can reach this address, and nobody is asked for a token')
  }
}

const ownHosts = ({ host, baseUrl, allowedHosts: allowed }: Config) => ({ host, baseUrl, allowed })

/** GPUs that are no longer configured but still have a generation to watch. They get no new job. */
function formerGpus(gpus: readonly Gpu[], running: readonly Job[]): Gpu[] {
  const ids = running.flatMap(({ state }) =>
    state.status === 'running' && state.phase === 'generating' ? [state.gpu] : [],
  )
  return ids
    .filter((id) => !gpus.some((gpu) => gpu.id === id))
    .map((id) => ({ id, device: String(id) }))
}

/** For crash tests: SIGUSR2 crashes the actor that the file `crash` in the data directory names. */
function injectFaults(
  { dataDir }: Config,
  crash: (actor: string) => void,
  resources: AsyncDisposableStack,
): void {
  const crashOne = () => crash(readFileSync(join(dataDir, 'crash'), 'utf8').trim())
  process.on('SIGUSR2', crashOne)
  resources.defer(() => void process.off('SIGUSR2', crashOne))
}
