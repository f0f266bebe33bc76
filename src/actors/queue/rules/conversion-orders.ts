/** What the queue orders of the converter beyond the conversion of a generation that has just ended. */
import type { QueueState } from '../queue-state.ts'
import type { RunningJob } from '../running-jobs.ts'
import type { QueueStep } from './queue-steps.ts'

/** The cancel came before the video. The job ends when nothing of it is left. */
export const takeBack = (state: QueueState, { jobId, epoch, filename }: RunningJob): QueueStep => [
  state,
  [{ do: 'abortConversion', jobId, epoch, filename }],
]

/** A new converter knows of nothing; one that does know drops what it has already. */
export function resumeConversions(state: QueueState): QueueStep {
  const converting = [...state.running.values()].filter(({ phase }) => phase === 'converting')
  const effects = converting.map(({ jobId, epoch, filename, cancelRequested }) =>
    cancelRequested
      ? ({ do: 'abortConversion', jobId, epoch, filename } as const)
      : ({ do: 'convert', jobId, epoch, filename } as const),
  )
  return [state, effects]
}
