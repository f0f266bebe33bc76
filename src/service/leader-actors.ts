/** The actors of the node that leads: the queue, and all that knows of every job. */
import { uptime } from 'node:os'
import { type ActorRef, type ActorSystem, createPlace } from '../actors/actor.ts'
import { archiveBehaviour } from '../actors/archive/archive-actor.ts'
import type { JobFiles, VideoFiles } from '../actors/archive/archive-ports.ts'
import type { ArchiveMail } from '../actors/archive/archive-protocol.ts'
import { createArchiveWork } from '../actors/archive/archive-work.ts'
import { etaBehaviour } from '../actors/eta/eta-actor.ts'
import type { EtaMessage } from '../actors/eta/eta-protocol.ts'
import { publishedSeconds } from '../actors/eta/published-speeds.ts'
import type { GpuKinds } from '../actors/eta/speed-model.ts'
import { eventBehaviour } from '../actors/event/event-actor.ts'
import type { EventMessage } from '../actors/event/event-protocol.ts'
import { janitorBehaviour } from '../actors/janitor/janitor-actor.ts'
import type { Housekeeping } from '../actors/janitor/janitor-ports.ts'
import type { JanitorMessage } from '../actors/janitor/janitor-protocol.ts'
import type { Fleet } from '../actors/queue/fleet.ts'
import type { QueueMail } from '../actors/queue/journal/journal-state.ts'
import { queueBehaviour } from '../actors/queue/queue-actor.ts'
import type { ResultFiles, WorkFiles } from '../actors/queue/queue-ports.ts'
import type { QueueSettings } from '../actors/queue/queue-state.ts'
import { child } from '../actors/supervisor/supervisor.ts'
import type { SupervisorMessage } from '../actors/supervisor/supervisor-protocol.ts'
import { startDeliveryClock } from '../actors/webhook/delivery-clock.ts'
import { webhookBehaviour } from '../actors/webhook/webhook-actor.ts'
import type { WebhookMessage } from '../actors/webhook/webhook-protocol.ts'
import type { Config } from '../config/config.ts'
import { version } from '../config/version.ts'
import type { AddressGuard } from '../domain/address-guard.ts'
import type { GpuId } from '../domain/job.ts'
import type { Logger } from '../domain/log.ts'
import type { NodeName } from '../domain/node.ts'
import type { Observe } from '../domain/observation.ts'
import { wallNow } from '../domain/time.ts'
import { wanTasks } from '../domain/wan-tasks.ts'
import { createEventBody } from '../http/views/event-body.ts'
import { createFileLinks, type FileLinksOptions } from '../http/views/file-links.ts'
import { createJobRenderer } from '../http/views/job-view.ts'
import { bootMs } from '../infra/machine/boot-clock.ts'
import { createWebhookSender } from '../infra/webhooks/webhook-sender.ts'
import type { Records } from './records.ts'

/** Expected duration of a job on a GPU without published figures: README's "under 9 minutes". */
const unknownJobSeconds = 540

export type LeaderActorsOptions = Readonly<{
  config: Config
  records: Records
  fleet: Fleet
  /** The first node of the queue, and those of its GPUs that get jobs from the start. */
  node: NodeName
  gpus: readonly GpuId[]
  /** Model of each GPU, as far as it is known. GPUs may join later. */
  kinds: GpuKinds
  startsWarm(): boolean
  files: Readonly<{
    results: ResultFiles
    work: WorkFiles
    videos: VideoFiles
    jobs: JobFiles
    /** GPUs whose machines are away, so that their videos can be neither counted on nor deleted. */
    away(): readonly GpuId[]
  }>
  housekeeping: Housekeeping
  /** The janitor looks after the disks of this machine as well. */
  watchesDisks: boolean
  cancelWaitMs: number
  guard: AddressGuard
  links: FileLinksOptions
  observe: Observe
  log: Logger
}>

export type LeaderActors = ReturnType<typeof createLeaderActors>

export function createLeaderActors(system: ActorSystem, options: LeaderActorsOptions) {
  const { config, records, fleet, files, observe, log } = options
  const { stores } = records
  const speeds = speedsOf(options)
  const queue = createPlace<QueueMail>('queue')
  const archive = createPlace<ArchiveMail>('archive')
  const eta = createPlace<EtaMessage>('eta')
  const events = createPlace<EventMessage>('events')
  const webhooks = createPlace<WebhookMessage>('webhooks')
  const janitor = createPlace<JanitorMessage>('janitor')
  /** The supervisor is started with the actors below it. */
  const supervisor = createPlace<SupervisorMessage>('supervisor')
  const deliveryClock = startDeliveryClock(records.deliveryClock)
  const { videos: videoFiles, jobs: jobFiles } = files
  const archiveWork = createArchiveWork({ store: stores.archive, videoFiles, jobFiles })

  const children = [
    child(
      system,
      queue,
      () =>
        queueBehaviour({
          settings: queueSettings(options),
          store: stores.queue,
          results: files.results,
          workFiles: files.work,
          ...{ fleet, archive, eta, events, webhooks, observe, log },
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
      const { startsWarm } = options
      return etaBehaviour({ history: stores.eta, queue, speeds, startsWarm, observe, log })
    }),
    child(system, events, () => eventBehaviour({ archive, eta, log })),
    child(system, webhooks, () => {
      const { retentionMs } = config.retention
      const links = createFileLinks(options.links)
      const sender = { guard: options.guard, userAgent: `wan-supervisor/${version}` }
      return webhookBehaviour({
        store: stores.webhooks,
        jobs: stores.archive,
        sender: createWebhookSender(sender),
        clock: deliveryClock,
        clients: config.clients.map(({ name, isAdmin }) => ({ name, isAdmin })),
        render: createEventBody(
          createJobRenderer({ eta, links, retentionMs, nodeOf: fleet.nodeOf }),
        ),
        ...{ observe, log },
      })
    }),
    child(system, janitor, () => {
      const { minFreeBytes, retention: limits } = config
      const { hold } = records
      return janitorBehaviour({
        housekeeping: options.housekeeping,
        retention: {
          ...{ store: stores.retention, archive, limits, away: files.away },
          ...(hold && { hold }),
        },
        watchesDisks: options.watchesDisks,
        uptime: bootMs,
        ...{ queue, minFreeBytes, observe, log },
      })
    }),
  ]
  return {
    ...{ queue, archive, eta, events, webhooks, janitor, supervisor, children },
    /** All that are told things, for tests of crashes. */
    places: [queue, archive, eta, events, webhooks] as readonly ActorRef<never>[],
  }
}

/** Exactly what the rules of the queue need: no token digest travels into its state. */
const queueSettings = ({
  config,
  node,
  gpus,
  cancelWaitMs,
}: LeaderActorsOptions): QueueSettings => ({
  node,
  gpus,
  maxAttempts: config.maxAttempts,
  maxQueue: config.maxQueue,
  jobsPerHour: config.jobsPerHour,
  maxConcurrentLoads: config.maxConcurrentLoads,
  orphanPolicy: config.orphanPolicy,
  quarantineAfter: config.quarantineAfter,
  quarantineMs: config.quarantineMs,
  cancelWaitMs,
})

function speedsOf({ config: { wan, defaultJobSeconds }, kinds }: LeaderActorsOptions) {
  const { frames, steps } = wanTasks[wan.task]
  return {
    kinds,
    defaults: {
      usual: { size: '1280x720', frames, steps } as const,
      seconds: (kind: string | undefined) =>
        defaultJobSeconds ?? publishedSeconds(wan.task, kind) ?? unknownJobSeconds,
    },
    bootedAt: wallNow() - uptime() * 1000,
  }
}
