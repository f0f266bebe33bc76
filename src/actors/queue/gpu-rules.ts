/** Which GPUs are there, and which of them may be given work. */
import type { Timestamp } from '../../job.ts'
import { assign } from './claim-rules.ts'
import type { QueueNews, QueueState, RunningJob } from './queue-protocol.ts'
import { generatingOn, type QueueStep, withRunning } from './queue-state.ts'

export function welcomeGpu(
  state: QueueState,
  { gpu, incarnation, holding }: Extract<QueueNews, { type: 'gpuReady' }>,
  at: Timestamp,
): QueueStep {
  if (state.readyGpus.get(gpu) === incarnation) return [state, []]
  const own = generatingOn(state, gpu)
  const isOwn = own && holding?.jobId === own.jobId && holding.epoch === own.epoch
  // It works on what it should not: it is ready only when it has announced itself anew without it.
  if (holding && !isOwn) {
    return [state, [{ do: 'stopGeneration', ...holding, gpu, reason: 'orphaned' }]]
  }
  const ready = { ...state, readyGpus: new Map([...state.readyGpus, [gpu, incarnation]]) }
  if (!own) return assign(ready, at)

  if (isOwn) return [ready, []]
  const { jobId, epoch } = own
  const adopted: RunningJob =
    state.settings.orphanPolicy === 'adopt' ? own : { ...own, orphaned: true }
  return [withRunning(ready, adopted), [{ do: 'adoptGeneration', jobId, epoch, gpu }]]
}
