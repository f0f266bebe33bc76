import type { GpuId } from '../../domain/job.ts'
import type { FileSize, JobFiles, VideoFiles } from '../archive/archive-ports.ts'
import type { Housekeeping } from '../janitor/janitor-ports.ts'
import type { Installation, WorkFiles } from '../queue/queue-ports.ts'
import type { GpuReading } from './node-protocol.ts'

/** What a node does on its own machine. */
export type Machine = Readonly<{
  videoFiles: Pick<VideoFiles, 'find' | 'remove'> &
    Readonly<{ arePresent(files: readonly FileSize[]): Promise<readonly boolean[]> }>
  jobFiles: JobFiles & Pick<WorkFiles, 'discard'>
  housekeeping: Pick<Housekeeping, 'removeLeftOvers'>
  installation: Installation
  gpus: readonly GpuId[]
  /** The supervisor's name for the actor of a GPU. */
  childOf(gpu: GpuId): string
  measured(): ReadonlyMap<GpuId, GpuReading>
  /** The queue knows this machine. */
  noteWelcome(): void
  /**
   * Ends processes of attempts that do not run any more, and that no actor watches.
   * Returns the GPUs of those that survive SIGKILL.
   */
  endUnwatched(): Promise<readonly GpuId[]>
  /** Has all actors that the queue waits for announce themselves; `unkillable` come first. */
  announce(unkillable: readonly GpuId[]): void
}>
