import type { Caused, Scoped } from '../../domain/client.ts'
import type { FileLoss, JobId } from '../../domain/job.ts'
import type { AnswerEffect, Asks } from '../actor.ts'
import type { JobChange } from '../queue/queue-protocol.ts'
import type { QueueSnapshot } from '../queue/queue-state.ts'
import type { ArchiveOperation } from './archive-ports.ts'
import type { ArchiveQuestion, DeleteVideos, PinAnswer, Task } from './archive-protocol.ts'

export type ArchiveEffect =
  | AnswerEffect
  | Readonly<
      | { do: 'announce' }
      | { do: 'readRemovals' }
      | { do: 'survey'; afterSeq: number }
      | { do: 'read'; question: ArchiveQuestion; queue: QueueSnapshot }
      | { do: 'selectVideos'; command: DeleteVideos }
      | { do: 'work'; tasks: readonly Task[] }
      | { do: 'commit'; operations: readonly ArchiveOperation[] }
      | { do: 'retryLater' }
      | { do: 'completeLater' }
      | ({ do: 'answerPinned'; jobId: JobId; queue: QueueSnapshot | undefined } & Scoped &
          Asks<PinAnswer>)
      | { do: 'tellChanges'; changes: ReadonlyMap<JobId, JobChange> }
      | ({ do: 'logChange'; jobId: JobId; change: RecordChange } & Caused)
      | { do: 'logLost'; lost: readonly LostVideo[] }
      | { do: 'logKept'; count: number; error: unknown }
      | { do: 'logUnconfirmed'; count: number; error: unknown }
      | { do: 'logSurveyFailed'; error: unknown }
      | { do: 'logBlocked'; error: Error }
      | { do: 'logStale'; why: string }
    >

/** Changes to the record of a job whose status stays as it is. */
export type RecordChange = 'pinned' | 'unpinned' | 'video deleted' | 'video found' | 'deleted'

export type LostVideo = Readonly<{ jobId: JobId; loss: FileLoss }>
