/** The actors of the service: their places, what each is given, and the supervisor above them. */
import { uptime } from 'node:os'
import { type ActorRef, createPlace, startActorSystem, tell } from '../actors/actor.ts'
import { archiveBehaviour } from '../actors/archive/archive-actor.ts'
import type { ArchiveMail } from '../actors/archive/archive-protocol.ts'
import { createArchiveWork } from '../actors/archive/archive-work.ts'
import { conversionBehaviour } from '../actors/conversion/conversion-actor.ts'
import type { ConversionMessage } from '../actors/conversion/conversion-protocol.ts'
import { etaBehaviour } from '../actors/eta/eta-actor.ts'
import type { EtaMessage } from '../actors/eta/eta-protocol.ts'
import { publishedSeconds } from '../actors/eta/published-speeds.ts'
import { eventBehaviour } from '../actors/event/event-actor.ts'
import type { EventMessage } from '../actors/event/event-protocol.ts'
import { caretakerBehaviour } from '../actors/gpu/caretaker-actor.ts'
import type { CaretakerMessage } from '../actors/gpu/caretaker-transition.ts'
import { gpuBehaviour } from '../actors/gpu/gpu-actor.ts'
import type { GpuMessage } from '../actors/gpu/gpu-protocol.ts'
import { janitorBehaviour } from '../actors/janitor/janitor-actor.ts'
import type { JanitorMessage } from '../actors/janitor/janitor-protocol.ts'
import type { QueueMail } from '../actors/queue/journal/journal-state.ts'
import { queueBehaviour } from '../actors/queue/queue-actor.ts'
import type { QueueSettings } from '../actors/queue/queue-state.ts'
import { child, startSupervisor } from '../actors/supervisor/supervisor.ts'
import type { SupervisorEvent } from '../actors/supervisor/supervisor-protocol.ts'
import { templateBehaviour } from '../actors/template/template-actor.ts'
import type { TemplateMessage } from '../actors/template/template-protocol.ts'
import { startDeliveryClock } from '../actors/webhook/delivery-clock.ts'
import { webhookBehaviour } from '../actors/webhook/webhook-actor.ts'
import type { WebhookMessage } from '../actors/webhook/webhook-protocol.ts'
import { bytesPerLoad, type Config } from '../config/config.ts'
import { version } from '../config/version.ts'
import type { AddressGuard } from '../domain/address-guard.ts'
import type { GpuId } from '../domain/job.ts'
import type { Logger } from '../domain/log.ts'
import { soleNode } from '../domain/node.ts'
import type { Observe } from '../domain/observation.ts'
import { wanTasks } from '../domain/wan-tasks.ts'
import { createEventBody } from '../http/views/event-body.ts'
import { createFileLinks, type FileLinksOptions } from '../http/views/file-links.ts'
import { createJobRenderer } from '../http/views/job-view.ts'
import type { NodeOf } from '../http/views/node-view.ts'
import { createWorkFiles } from '../infra/disk/data-directory.ts'
import { createGenerationRunner } from '../infra/generation/runner.ts'
import { createWarmStarts } from '../infra/generation/warm-starts.ts'
import { simulatorDir } from '../infra/installation/simulation.ts'
import type { StandingChecks } from '../infra/installation/standing-checks.ts'
import { availableMemory } from '../infra/machine/available-memory.ts'
import { bootMs } from '../infra/machine/boot-clock.ts'
import type { Gpu } from '../infra/machine/gpus.ts'
import type { createVideoFiles } from '../infra/media/video-files.ts'
import { createVideoTools } from '../infra/media/video-tools.ts'
import type { ForkServer } from '../infra/processes/fork-server.ts'
import { createHousekeeping } from '../infra/upkeep/housekeeping.ts'
import { createWebhookSender } from '../infra/webhooks/webhook-sender.ts'
import type { Storage } from './storage.ts'

/** Expected duration of a job on a GPU without published figures: README's "under 9 minutes". */
const unknownJobSeconds = 540

export type ActorsOptions = Readonly<{
  config: Config
  storage: Storage
  /** GPUs that get jobs. */
  gpus: readonly Gpu[]
  /** Those, and former ones that still have a generation to watch. */
  owned: readonly Gpu[]
  cancelWaitMs: number
  env: NodeJS.ProcessEnv
  forkServer: ForkServer
  videoFiles: ReturnType<typeof createVideoFiles>
  nodeOf: NodeOf
  /** The standing checks, and the names of those without which no generation or conversion works. */
  installation: Pick<StandingChecks, 'lookAgain' | 'listen'> &
    Readonly<{ names: readonly string[] }>
  guard: AddressGuard
  links: FileLinksOptions
  observe: Observe
  log: Logger
  /** A part that the service cannot do without was given up. */
  onGivenUp(actor: string): void
}>

export type Actors = ReturnType<typeof startActors>

export function startActors(options: ActorsOptions) {
  const { config, storage, gpus, owned, forkServer, installation, videoFiles } = options
  const { nodeOf, observe, log, onGivenUp } = options
  const { data, wan, graceMs, jobTimeoutMs } = config
  const { stores } = storage
  const speeds = speedsOf(config, gpus)
  const queue = createPlace<QueueMail>('queue')
  const archive = createPlace<ArchiveMail>('archive')
  const eta = createPlace<EtaMessage>('eta')
  const events = createPlace<EventMessage>('events')
  const webhooks = createPlace<WebhookMessage>('webhooks')
  const conversion = createPlace<ConversionMessage>('conversion')
  const janitor = createPlace<JanitorMessage>('janitor')
  const caretaker = createPlace<CaretakerMessage>('caretaker')
  const places = new Map(owned.map(({ id }) => [id, createPlace<GpuMessage>(childOf(id))]))
  const template = createPlace<TemplateMessage>('template')
  const { env } = options
  const starter = createWarmStarts({
    ...{ wan, gpus, env, forkServer },
    hasStandby: config.hasStandby,
    bytesToLoad: asksForMemory(config) ? bytesPerLoad(wan) : undefined,
    availableBytes: availableMemory,
    tell: (message) => tell(template, message),
  })
  const runners = new Map(
    owned.map(({ id: gpu, device }) => [
      gpu,
      createGenerationRunner({ data, wan, gpu, device, env, starter, observe, log }),
    ]),
  )
  const system = startActorSystem()
  const workFiles = createWorkFiles(data)
  const deliveryClock = startDeliveryClock(storage.deliveryClock)
  const archiveWork = createArchiveWork({ store: stores.archive, videoFiles, jobFiles: workFiles })

  const children = [
    child(
      system,
      queue,
      () =>
        queueBehaviour({
          settings: queueSettings(options),
          store: stores.queue,
          results: videoFiles,
          workFiles,
          installation,
          gpus: places,
          caretaker,
          archive,
          conversion,
          eta,
          events,
          webhooks,
          template,
          observe,
          log,
        }),
      { significant: true },
    ),
    child(
      system,
      archive,
      () =>
        archiveBehaviour({ store: stores.archive, work: archiveWork, queue, events, observe, log }),
      { significant: true },
    ),
    child(system, eta, () => {
      const { startsWarm } = starter
      return etaBehaviour({ history: stores.eta, queue, speeds, startsWarm, observe, log })
    }),
    child(system, events, () => eventBehaviour({ archive, eta, log })),
    child(system, webhooks, () => {
      const { retentionMs } = config.retention
      const links = createFileLinks(options.links)
      return webhookBehaviour({
        store: stores.webhooks,
        jobs: stores.archive,
        sender: createWebhookSender({
          guard: options.guard,
          userAgent: `wan-supervisor/${version}`,
        }),
        clock: deliveryClock,
        clients: config.clients.map(({ name, isAdmin }) => ({ name, isAdmin })),
        render: createEventBody(createJobRenderer({ eta, links, retentionMs, nodeOf })),
        observe,
        log,
      })
    }),
    child(system, conversion, () => {
      const tools = createVideoTools({ data, fit: config.fit720, start: forkServer.startTool })
      return conversionBehaviour({
        task: wan.task,
        tools,
        queue,
        limit: config.maxConversions,
        log,
      })
    }),
    child(system, janitor, () => {
      const { archiveDir, minFreeBytes, retention: limits } = config
      const { backups, reserve, known, hold } = storage
      return janitorBehaviour({
        housekeeping: createHousekeeping({
          ...{ data, reserve, archiveDir, known },
          ...(backups && { backups }),
        }),
        retention: stores.retention,
        queue,
        archive,
        minFreeBytes,
        limits,
        ...(hold && { hold }),
        uptime: bootMs,
        observe,
        log,
      })
    }),
    child(system, template, () => {
      const impossible = wan.launcher ? undefined : 'WAN_LAUNCHER is 0'
      const { warmStart, warmStartIdleMs: idleMs } = config
      return templateBehaviour({
        settings: { warmStart, idleMs, impossible },
        port: starter,
        queue,
        observe,
        log,
      })
    }),
    child(system, caretaker, () => caretakerBehaviour({ runners, queue, graceMs, jobTimeoutMs })),
    ...[...runners].map(([gpu, runner]) => {
      return child(system, places.get(gpu) ?? createPlace(childOf(gpu)), () =>
        gpuBehaviour({ gpu, runner, queue, graceMs, jobTimeoutMs }),
      )
    }),
  ]
  const supervisor = startSupervisor(system, children, (event) => {
    logEvent(log, event)
    // A restart by an operator is followed by an event of its own.
    if (event.type === 'childRestartAsked') return
    const gone = owned.find(({ id }) => childOf(id) === event.id)
    if (gone) {
      const givenUp = event.type === 'childGivenUp'
      tell(queue, { type: 'gpuGone', gpu: gone.id, givenUp })
    }
    if (event.type === 'childGivenUp' && event.significant) onGivenUp(event.id)
  })

  installation.listen((found) => {
    const checks = found.filter(({ name }) => installation.names.includes(name))
    tell(queue, { type: 'environmentChecked', checks })
  })

  return { queue, archive, eta, events, webhooks, janitor, template, supervisor, crash }

  /** For crash tests: sends an actor a message that it does not survive. */
  function crash(name: string): void {
    const all = [queue, archive, eta, events, webhooks, conversion, template, ...places.values()]
    const victim = all.find((place) => place.name === name)
    if (victim) tell(victim as ActorRef<never>, null as never)
  }
}

/** Name of a GPU's actor at the supervisor. */
export const childOf = (gpu: GpuId): string => `gpu-${gpu}`

/** The simulator takes next to no memory. */
const asksForMemory = ({ warmStart, wan }: Config): boolean =>
  warmStart === 'auto' && wan.wanDir !== simulatorDir

/** Exactly what the rules of the queue need: no token digest travels into its state. */
const queueSettings = ({ config, gpus, cancelWaitMs }: ActorsOptions): QueueSettings => ({
  node: soleNode,
  gpus: gpus.map(({ id }) => id),
  maxAttempts: config.maxAttempts,
  maxQueue: config.maxQueue,
  jobsPerHour: config.jobsPerHour,
  maxConcurrentLoads: config.maxConcurrentLoads,
  orphanPolicy: config.orphanPolicy,
  quarantineAfter: config.quarantineAfter,
  quarantineMs: config.quarantineMs,
  cancelWaitMs,
})

function speedsOf({ wan, defaultJobSeconds }: Config, gpus: readonly Gpu[]) {
  const { frames, steps } = wanTasks[wan.task]
  return {
    kinds: new Map(gpus.map(({ id, name }) => [id, name])),
    defaults: {
      usual: { size: '1280x720', frames, steps } as const,
      seconds: (kind: string | undefined) =>
        defaultJobSeconds ?? publishedSeconds(wan.task, kind) ?? unknownJobSeconds,
    },
    bootedAt: Date.now() - uptime() * 1000,
  }
}

function logEvent(log: Logger, event: SupervisorEvent): void {
  const { type, id, ...rest } = event
  const fields = { actor: id, ...rest, ...('error' in event && { err: event.error }) }
  if (type === 'childRestartAsked') log.info(fields, 'actor restart asked for')
  else if (type === 'childStopped') log[event.killed ? 'warn' : 'info'](fields, 'actor stopped')
  else if (type === 'childFailed') log.error(fields, 'actor crashed; it will be started again')
  else log.error(fields, 'actor crashed too often and was given up')
}
