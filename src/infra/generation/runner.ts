import type {
  AttemptOrder,
  GenerationObserver,
  GenerationRunner,
} from '../../actors/gpu/gpu-ports.ts'
import type { Failure, GpuId } from '../../domain/job.ts'
import type { Logger } from '../../domain/log.ts'
import type { EmbeddingSource, LaunchedPart, Observe } from '../../domain/observation.ts'
import { attemptDirectory, type DataDirectory, logOf } from '../disk/data-directory.ts'
import { hasNoRoom } from '../disk/free-space.ts'
import { startKindIn } from '../processes/shim-client.ts'
import { type AttemptParts, followAttempt } from './attempt/attempt.ts'
import type { Fallback } from './progress/event-reader.ts'
import { createGenerationReader } from './progress/generation-reader.ts'
import { followOutput } from './progress/output-follower.ts'
import { createShimTransport, type ShimTransportOptions } from './shim-transport.ts'
import { type GenerationStarter, saysForkFault } from './warm-starts.ts'

export type RunnerOptions = ShimTransportOptions &
  Readonly<{
    data: DataDirectory
    gpu: GpuId
    starter: GenerationStarter
    observe: Observe
    log: Logger
  }>

/** Runs `generate.py` on one GPU, each generation in a process and a shim that outlive the service. */
export function createGenerationRunner(options: RunnerOptions): GenerationRunner {
  const transport = createShimTransport(options)
  let told = { attempt: '', parts: new Set<LaunchedPart>(), encoded: 0 }
  const partsFor = (order: AttemptOrder, observer: GenerationObserver): AttemptParts => ({
    ...outputOf(order, options, { onFallback, onEncoded }),
    processes: transport(order),
    observer,
  })

  return {
    start: (order, observer) => followAttempt('start', partsFor(order, watched(order, observer))),
    adopt: (order, observer) => followAttempt('adopt', partsFor(order, watched(order, observer))),
  }

  /** The GPU is occupied until the end. A failure that only a fork can have is none of the job. */
  function watched(order: AttemptOrder, observer: GenerationObserver): GenerationObserver {
    const { data, gpu, starter, log } = options
    starter.occupy(gpu)
    return {
      ...observer,
      ended(result) {
        if (result.how === 'completed') starter.completed(gpu)
        if (result.how === 'failed') starter.failed(gpu)
        starter.vacate(gpu)
        if (
          result.how !== 'failed' ||
          !isForkFault(result.failure, attemptDirectory(data, order))
        ) {
          observer.ended(result)
          return
        }
        const { message } = result.failure
        const { jobId, epoch } = order
        log.warn(
          { jobId, epoch, gpu, reason: message },
          'a forked generation failed as only a fork can',
        )
        starter.forkFailed(message)
        observer.ended({ how: 'forkFailed' })
      },
    }
  }

  /** Once for each attempt, whose events are read again when it is adopted. */
  function onFallback({ jobId, epoch }: AttemptOrder, { part, why }: Fallback): void {
    const { observe, log, gpu } = options
    const { parts } = toldOf({ jobId, epoch })
    if (parts.has(part)) return
    parts.add(part)
    observe({ saw: 'launcherFellBack', part })
    const fields = { jobId, epoch, gpu, part, why }
    log.warn(fields, 'a part of the launcher cannot do its work; the script goes its own way')
  }

  function onEncoded(order: AttemptOrder, source: EmbeddingSource, number: number): void {
    const known = toldOf(order)
    if (number <= known.encoded) return
    known.encoded = number
    options.observe({ saw: 'promptEncoded', source })
  }

  /** Reports that were made of this attempt. */
  function toldOf({ jobId, epoch }: Pick<AttemptOrder, 'jobId' | 'epoch'>): typeof told {
    const attempt = `${jobId}/${epoch}`
    if (told.attempt !== attempt) told = { attempt, parts: new Set(), encoded: 0 }
    return told
  }
}

const isForkFault = ({ message }: Failure, attemptDir: string): boolean =>
  saysForkFault(message) && startKindIn(attemptDir) === 'warm'

type EventListeners = Readonly<{
  onFallback(order: AttemptOrder, fallback: Fallback): void
  onEncoded(order: AttemptOrder, source: EmbeddingSource, number: number): void
}>

/** Files of an attempt that are read, and where its log lines go. */
function outputOf(
  order: AttemptOrder,
  { data, device, gpu, log }: RunnerOptions,
  { onFallback, onEncoded }: EventListeners,
): Omit<AttemptParts, 'processes' | 'observer'> {
  const { jobId, epoch, request } = order
  const attemptDir = attemptDirectory(data, order)
  const fields = { jobId, epoch, gpu }

  return {
    log,
    fields,
    hasNoRoom: () => hasNoRoom(attemptDir),
    followOutput(startedAt, onRead, clock) {
      const reader = createGenerationReader({
        ...{ totalSteps: request.steps, startedAt, clock },
        onFallback: (fallback) => onFallback(order, fallback),
        onEncoded: (source, number) => onEncoded(order, source, number),
      })
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
