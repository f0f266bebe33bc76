/** Looks after the disks of a node. What has been kept for long enough is a matter of the leader. */
import { type ActorRef, type ActorSystem, createPlace } from '../../actors/actor.ts'
import { janitorBehaviour } from '../../actors/janitor/janitor-actor.ts'
import type { Housekeeping } from '../../actors/janitor/janitor-ports.ts'
import type { JanitorMessage } from '../../actors/janitor/janitor-protocol.ts'
import type { QueueMessage } from '../../actors/queue/queue-protocol.ts'
import { child } from '../../actors/supervisor/supervisor.ts'
import type { Config } from '../../config/config.ts'
import type { Logger } from '../../domain/log.ts'
import type { Observe } from '../../domain/observation.ts'

export type DiskGuardOptions = Readonly<{
  config: Config
  housekeeping: Housekeeping
  queue: ActorRef<QueueMessage>
  observe: Observe
  log: Logger
}>

export const createDiskGuard = (
  system: ActorSystem,
  { config: { minFreeBytes }, ...rest }: DiskGuardOptions,
) =>
  child(system, createPlace<JanitorMessage>('disk-guard'), () =>
    janitorBehaviour({ minFreeBytes, ...rest }),
  )
