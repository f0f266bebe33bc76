/** What the queue orders of the converter beyond the conversion of a generation that has just ended. */
import type { NodeName } from '../../../domain/node.ts'
import { nodeNameOf } from '../nodes.ts'
import type { QueueState } from '../queue-state.ts'
import type { RunningJob } from '../running-jobs.ts'
import type { QueueStep } from './queue-steps.ts'

/** The cancel came before the video. The job ends when nothing of it is left. */
export const takeBack = (
  state: QueueState,
  { jobId, epoch, filename, gpu }: RunningJob,
): QueueStep => [
  state,
  [{ do: 'abortConversion', node: nodeNameOf(state, gpu), jobId, epoch, filename }],
]

/** A new converter knows of nothing; one that does know drops what it has already. */
export function resumeConversions(state: QueueState, node: NodeName): QueueStep {
  const converting = [...state.running.values()].filter(
    ({ phase, gpu }) => phase === 'converting' && nodeNameOf(state, gpu) === node,
  )
  const effects = converting.map(({ jobId, epoch, filename, cancelRequested }) =>
    cancelRequested
      ? ({ do: 'abortConversion', node, jobId, epoch, filename } as const)
      : ({ do: 'convert', node, jobId, epoch, filename } as const),
  )
  return [state, effects]
}
