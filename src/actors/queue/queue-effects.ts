import type { Caused } from '../../domain/client.ts'
import type {
  AttemptKey,
  Epoch,
  Failure,
  GpuHealth,
  GpuId,
  JobId,
  JobStatus,
  Timestamp,
} from '../../domain/job.ts'
import type { NodeName } from '../../domain/node.ts'
import type { AnswerEffect, Asks } from '../actor.ts'
import type { ConversionOutput } from '../conversion/conversion-ports.ts'
import type { StopReason } from '../gpu/gpu-ports.ts'
import type { Hold } from './environment-state.ts'
import type { QueueOperation } from './queue-ports.ts'
import type { FinishedAttempt, QueueCommand, SubmitAnswer } from './queue-protocol.ts'

/** Effects of the rules. The journal writes `store` effects and performs the others after the commit. */
export type QueueEffect =
  | AnswerEffect
  | Readonly<
      | { do: 'store'; operation: QueueOperation }
      | ({ do: 'prepareSubmission' } & Omit<Extract<QueueCommand, { type: 'submit' }>, 'type'>)
      | ({ do: 'findRepeated'; jobId: JobId } & Asks<SubmitAnswer>)
      | { do: 'expectCancel'; ticket: number; withinMs: number }
      | { do: 'continueCancel'; ticket: number }
      | { do: 'expectProbe'; gpu: GpuId; since: Timestamp; withinMs: number }
      /** Pauses claims after a failure by the environment. */
      | { do: 'expectPause'; node: NodeName; pause: number; withinMs: number }
      /** Has the standing checks look again. */
      | { do: 'checkEnvironment'; node: NodeName }
      | ({ do: 'expectLoad'; withinMs: number } & AttemptKey)
      | { do: 'giveTemplateTurn'; node: NodeName; build: number }
      | { do: 'expectTemplate'; node: NodeName; build: number; withinMs: number }
      | ({ do: 'expectCare'; withinMs: number } & AttemptKey)
      | { do: 'logHold'; node: NodeName; hold: Hold | undefined }
      | ({ do: 'logGpu'; gpu: GpuId; health: GpuHealth } & Caused)
      /** The node is known: its actors start, or announce themselves again. */
      | { do: 'welcomeNode'; node: NodeName }
      | JobOrder
      | ({ do: 'stopGeneration'; gpu: GpuId; reason: StopReason } & AttemptKey)
      | { do: 'discardWork'; jobId: JobId }
      | { do: 'tellEta'; attempt: FinishedAttempt }
      | ({
          do: 'logStatus'
          jobId: JobId
          status: JobStatus
          epoch: Epoch
          attempt?: number
          gpu?: GpuId
          cancelRequested?: true
          failure?: Failure
        } & Caused)
    >

/** Orders to others that are sent once the job has been read from the store. */
export type JobOrder = Readonly<
  | ({ do: 'startGeneration' | 'adoptGeneration' | 'careFor'; gpu: GpuId } & AttemptKey)
  | ({ do: 'convert' | 'abortConversion'; node: NodeName } & ConversionOutput)
>
