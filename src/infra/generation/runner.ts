import type {
  AttemptOrder,
  GenerationObserver,
  GenerationRunner,
} from '../../actors/gpu/gpu-ports.ts'
import type { GpuId } from '../../domain/job.ts'
import type { Logger } from '../../domain/log.ts'
import { attemptDirectory, type DataDirectory, logOf } from '../disk/data-directory.ts'
import { hasNoRoom } from '../disk/free-space.ts'
import { type AttemptParts, followAttempt } from './attempt/attempt.ts'
import { createGenerationReader } from './progress/generation-reader.ts'
import { followOutput } from './progress/output-follower.ts'
import { createShimTransport, type ShimTransportOptions } from './shim-transport.ts'

export type RunnerOptions = ShimTransportOptions &
  Readonly<{ data: DataDirectory; gpu: GpuId; log: Logger }>

/** Runs `generate.py` on one GPU, each generation in a process and a shim that outlive the service. */
export function createGenerationRunner(options: RunnerOptions): GenerationRunner {
  const transport = createShimTransport(options)
  const partsFor = (order: AttemptOrder, observer: GenerationObserver): AttemptParts => ({
    ...outputOf(order, options),
    processes: transport(order),
    observer,
  })

  return {
    start: (order, observer) => followAttempt('start', partsFor(order, observer)),
    adopt: (order, observer) => followAttempt('adopt', partsFor(order, observer)),
  }
}

/** Files of an attempt that are read, and where its log lines go. */
function outputOf(
  order: AttemptOrder,
  { data, device, gpu, log }: RunnerOptions,
): Omit<AttemptParts, 'processes' | 'observer'> {
  const { jobId, epoch, request } = order
  const attemptDir = attemptDirectory(data, order)
  const fields = { jobId, epoch, gpu }

  return {
    log,
    fields,
    hasNoRoom: () => hasNoRoom(attemptDir),
    followOutput(startedAt, onRead, clock) {
      const reader = createGenerationReader({ totalSteps: request.steps, startedAt, clock })
      return followOutput({
        attemptDir,
        logPath: logOf(data, jobId),
        title: `=== attempt ${epoch} on GPU ${device}, begun ${new Date(startedAt).toISOString()} ===`,
        reader,
        clock,
        onRead: () => onRead(reader.reading),
        onError: createOnce((error) => {
          log.warn({ ...fields, err: error }, 'output could not be followed')
        }),
      })
    },
  }
}

/** Passes on an error unless it is like the one before: a file may not be readable many times a second. */
function createOnce(tell: (error: unknown) => void): (error: unknown) => void {
  let last: string | undefined
  return (error) => {
    const text = String(error)
    if (text !== last) tell(error)
    last = text
  }
}
