import type { CloseMode } from '../actors/queue/queue-protocol.ts'
import type { Logger } from '../domain/log.ts'

export type ServiceOptions = Readonly<{
  log: Logger
  /** Environment of generations, without secrets. */
  env: NodeJS.ProcessEnv
  /** A part that the service cannot do without was given up. The service should be stopped. */
  onGivenUp?(part: string): void
}>

export type StartOptions = Required<ServiceOptions>

export type Running = Readonly<{ url: string; stop(mode: CloseMode): Promise<void> }>
