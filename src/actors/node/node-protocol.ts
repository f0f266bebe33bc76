/** A machine as the leader of its cluster knows it. */
import type { Caused } from '../../domain/client.ts'
import type { GpuId, JobId, Timestamp } from '../../domain/job.ts'
import type { VideoFile } from '../../domain/video-file.ts'
import type { AnswerEffect, Asks } from '../actor.ts'
import type { FileFinding, FileSize } from '../archive/archive-ports.ts'
import type { ChildView, RestartAnswer } from '../supervisor/supervisor-protocol.ts'

/** Work on this machine, which needs no rules. */
export type NodeWork = Readonly<
  /** Removes the working files of a job: it is over. */
  | { type: 'discardWork'; jobId: JobId }
  /** Removes all of its files but the video: the job is deleted. */
  | { type: 'forgetJob'; jobId: JobId }
  /** Removes logs and archived work that are older and belong to no job. */
  | { type: 'removeLeftOvers'; before: Timestamp }
  /** Has the standing checks look again. */
  | { type: 'lookAgain' }
  | ({ type: 'restartGpu'; gpu: GpuId } & Caused & Asks<RestartAnswer>)
  | ({ type: 'removeVideo'; video: VideoFile } & Asks<FileFinding>)
  | ({ type: 'findVideo'; video: VideoFile } & Asks<FileFinding>)
  /** One answer per file, in the same order. */
  | ({ type: 'findPresent'; files: readonly FileSize[] } & Asks<readonly boolean[]>)
  | ({ type: 'describeNode' } & Asks<NodeDescription>)
>

/** What the leader tells a node. */
export type NodeCommand =
  | NodeWork
  /** The queue knows this node. */
  | Readonly<{ type: 'welcome' }>

/** How the look for processes that nobody watches went, and that one that failed is to be repeated. */
export type NodeNews = Readonly<
  | { type: 'lookEnded'; unkillable: readonly GpuId[] }
  | { type: 'lookFailed'; error: unknown }
  | { type: 'lookDue' }
>

export type NodeMessage = NodeCommand | NodeNews

/** What only the machine itself knows. */
export type NodeDescription = Readonly<{
  /** Actors of its GPUs. */
  actors: ReadonlyMap<GpuId, ChildView>
  /** Latest readings of the instruments of its GPUs; none where nvidia-smi does not answer. */
  readings: ReadonlyMap<GpuId, GpuReading>
}>

export type GpuReading = Readonly<{
  memoryUsedMiB: number
  memoryTotalMiB: number
  utilizationPercent: number
  temperatureC: number
}>

/** `looking`: for processes that nobody watches. `again`: another welcome came meanwhile. `hasFailed`: the last look. */
export type NodeState = Readonly<
  { phase: 'idle' } | { phase: 'looking'; again: boolean; hasFailed: boolean }
>

export type NodeEffect =
  | AnswerEffect
  | Readonly<
      | { do: 'noteWelcome' }
      | { do: 'endUnwatched' }
      | { do: 'lookLater' }
      | { do: 'announce'; unkillable: readonly GpuId[] }
      | { do: 'logFailure'; error: unknown }
      | { do: 'work'; work: NodeWork }
    >
