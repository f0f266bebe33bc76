/** How the processes of an attempt are reached. Each way of starting a worker is one transport. */
import type { AttemptOrder, StopReason } from '../../../actors/gpu/gpu-ports.ts'
import type { GenerationStartKind, Timestamp } from '../../../domain/job.ts'
import type { ShimEnd } from '../../processes/fork-server.ts'
import type { Claim, ShimExit, ShimLife } from '../../processes/shim-client.ts'
import type { Strays } from '../../processes/strays.ts'

export type Transport = (order: AttemptOrder) => AttemptProcesses

/** The processes of one attempt: the worker, and the shim that starts, watches and survives it. */
export type AttemptProcesses = Readonly<{
  /** Writes the order and has the shim started. Resolves when the shim ends. */
  start(): Promise<ShimEnd>
  /** Connects to the shim. `closed` is called once, also when there is no shim. */
  connect(on: ConnectionEvents): Connection
  /** Exit of the worker, if the shim has written it. */
  exit(): Promise<ShimExit | undefined>
  /** Makes the claim of the attempt, so that no shim can start it later. */
  revoke(): Claim
  /** Whether the shim is alive. */
  life(): Promise<ShimLife>
  /** Age of the worker by a clock that nobody sets. Undefined when it is not known. */
  ageMs(): number | undefined
  /** How the worker was started. Undefined when it is not known. */
  startKind(): GenerationStartKind | undefined
  /** Command that the shim runs. Undefined when the files of the attempt are deleted. */
  command(): readonly string[] | undefined
  /** Whether the files of the attempt exist. */
  hasFiles(): boolean
  /** Reason for a shim that ended before it started the attempt. */
  whyNothingStarted(): Promise<string>
  /** Kills the processes of the attempt except the shim. */
  killWorkers(): Promise<Strays>
  killShim(): Promise<Strays>
  /** Kills all processes of the attempt. Resolves when none is left, or some survive SIGKILL. */
  clear(): Promise<Strays>
  /** Resolves when the shim has ended. Kills a shim that does not end by itself. */
  shimEnds(): Promise<void>
}>

export type ConnectionEvents = Readonly<{
  /** The shim has answered for this attempt. `startedAt` is null while it starts its worker. */
  hello(startedAt: Timestamp | null, start?: GenerationStartKind): void
  exit(exit: ShimExit): void
  closed(): void
}>

export type Connection = Readonly<{
  stop(reason: StopReason, graceMs: number): void
  close(): void
}>
